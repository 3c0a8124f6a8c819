-- Instants are microseconds since 1970-01-01 UTC. Enums are stored by name, see names.rs.

-- In the order of client ids, which is the default order of a list: the keys of a page, and their
-- secrets, are on a few adjacent pages of the file at any depth.
CREATE TABLE api_key (
    client_id TEXT NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL,
    organization TEXT NOT NULL,
    role TEXT,
    client_name TEXT NOT NULL,
    redirect_uris TEXT NOT NULL, -- a JSON array
    response_types TEXT NOT NULL, -- names separated by blanks
    grant_types TEXT NOT NULL, -- names separated by blanks
    application_type TEXT NOT NULL,
    contacts TEXT NOT NULL, -- a JSON array
    logo_uri TEXT NOT NULL,
    client_uri TEXT NOT NULL,
    policy_uri TEXT NOT NULL,
    tos_uri TEXT NOT NULL,
    jwks_uri TEXT NOT NULL,
    token_endpoint_auth_method TEXT NOT NULL,
    consent_method TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    expires_at INTEGER,
    disabled_at INTEGER,
    epoch INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One index for each order of a list. Client ids break ties.
CREATE INDEX api_key_by_client_name ON api_key (client_name, client_id);
CREATE INDEX api_key_by_created_at ON api_key (created_at, client_id);

CREATE TABLE secret (
    client_id TEXT NOT NULL REFERENCES api_key ON DELETE CASCADE,
    position INTEGER NOT NULL, -- counts up within a key: the order of creation
    secret_id TEXT NOT NULL UNIQUE,
    label TEXT NOT NULL,
    pepper_version INTEGER NOT NULL,
    mac BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    expires_at INTEGER,
    last_used_at INTEGER,
    PRIMARY KEY (client_id, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX secret_by_expires_at ON secret (expires_at) WHERE expires_at IS NOT NULL;

-- The deny-list: revoked tokens, until they expire.
CREATE TABLE denial (
    client_id TEXT NOT NULL REFERENCES api_key ON DELETE CASCADE,
    jti TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (client_id, jti)
) STRICT, WITHOUT ROWID;

CREATE INDEX denial_by_expires_at ON denial (expires_at);

-- The call that created a key, while it can be repeated. In the order of time, so that a create
-- appends and a purge truncates: an index by key would cost each create another page. For the same
-- reason there is no foreign key; deleting a key deletes its row explicitly.
CREATE TABLE replay (
    created_at INTEGER NOT NULL, -- the key's
    client_id TEXT NOT NULL,
    actor TEXT NOT NULL,
    request_id TEXT NOT NULL,
    digest BLOB NOT NULL,
    repeats INTEGER NOT NULL,
    PRIMARY KEY (created_at, client_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE signing_key (
    position INTEGER PRIMARY KEY,
    kid TEXT NOT NULL UNIQUE,
    algorithm TEXT NOT NULL,
    sealed BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    published_until INTEGER
) STRICT;

CREATE TABLE sealed (
    name TEXT NOT NULL PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger (
    sequence INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL,
    request_id TEXT NOT NULL,
    peer TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    link BLOB NOT NULL
) STRICT;

CREATE TRIGGER ledger_is_not_changed BEFORE UPDATE ON ledger
BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;

CREATE TRIGGER ledger_is_not_shortened BEFORE DELETE ON ledger
BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;

-- Also rejects INSERT OR REPLACE, which fires no DELETE trigger.
CREATE TRIGGER ledger_has_no_gaps BEFORE INSERT ON ledger
WHEN NEW.sequence IS NOT (SELECT coalesce(max(sequence), 0) + 1 FROM ledger)
BEGIN
    SELECT RAISE(ABORT, 'the ledger has no gaps');
END;
