-- Like SQLite's tables, see sqlite/migrations. Every number is BIGINT, and every text that is
-- compared or sorted has COLLATE "C": the order of bytes, in which keys are listed.
--
-- Nothing here depends on the session or on PostgreSQL alone: no triggers, no advisory locks, no
-- LISTEN, so that poolers and databases that speak PostgreSQL's protocol stay possible.

CREATE TABLE api_key (
    client_id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL,
    organization TEXT NOT NULL,
    role TEXT COLLATE "C",
    other_roles TEXT, -- names separated by blanks; NULL for none
    client_name TEXT COLLATE "C" NOT NULL,
    lower_client_name TEXT COLLATE "C" NOT NULL, -- by Rust's rules: lower() depends on the locale
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
    limits TEXT, -- a JSON object; NULL for none
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    expires_at BIGINT,
    disabled_at BIGINT,
    epoch BIGINT NOT NULL,
    seal BYTEA -- over the key and its secrets
);

-- One index for each order of a list. Client ids break ties.
CREATE INDEX api_key_by_client_name ON api_key (client_name, client_id);
CREATE INDEX api_key_by_created_at ON api_key (created_at, client_id);
-- To find another admin before the last one is lost.
CREATE INDEX api_key_of_admin ON api_key (client_id) WHERE role = 'admin';

CREATE TABLE secret (
    client_id TEXT COLLATE "C" NOT NULL REFERENCES api_key ON DELETE CASCADE,
    position BIGINT NOT NULL, -- counts up within a key: the order of creation
    secret_id TEXT COLLATE "C" NOT NULL UNIQUE,
    label TEXT NOT NULL,
    pepper_version BIGINT NOT NULL,
    mac BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    expires_at BIGINT,
    admin_expiry BIGINT,
    PRIMARY KEY (client_id, position)
);

CREATE INDEX secret_by_expires_at ON secret (expires_at) WHERE expires_at IS NOT NULL;

-- When secrets were last used. Narrow and apart: it is written far more often than anything else.
CREATE TABLE secret_use (
    secret_id TEXT COLLATE "C" NOT NULL PRIMARY KEY
        REFERENCES secret (secret_id) ON DELETE CASCADE,
    last_used_at BIGINT NOT NULL
) WITH (fillfactor = 50);

-- The deny-list: revoked tokens, until they expire.
CREATE TABLE denial (
    client_id TEXT COLLATE "C" NOT NULL REFERENCES api_key ON DELETE CASCADE,
    jti TEXT COLLATE "C" NOT NULL,
    expires_at BIGINT NOT NULL,
    seal BYTEA,
    PRIMARY KEY (client_id, jti)
);

CREATE INDEX denial_by_expires_at ON denial (expires_at);

-- The call that created a key, while it can be repeated.
CREATE TABLE replay (
    created_at BIGINT NOT NULL, -- the key's
    client_id TEXT COLLATE "C" NOT NULL,
    actor TEXT NOT NULL,
    request_id TEXT NOT NULL,
    digest BYTEA NOT NULL,
    repeats BIGINT NOT NULL,
    PRIMARY KEY (created_at, client_id)
);

CREATE TABLE signing_key (
    position BIGINT NOT NULL PRIMARY KEY, -- counts up: the order of creation
    kid TEXT COLLATE "C" NOT NULL UNIQUE,
    algorithm TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    signs_from BIGINT NOT NULL,
    published_until BIGINT,
    high_s_until BIGINT,
    seal BYTEA
);

CREATE TABLE sealed (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    bytes BYTEA NOT NULL
);

-- The versions of the root key, without the keys.
CREATE TABLE root_key (
    version BIGINT NOT NULL PRIMARY KEY,
    key_check BYTEA NOT NULL, -- tells whether a key is the one
    since BIGINT, -- NULL for the first: since there was the database
    retired_at BIGINT,
    ledger_key BYTEA -- what it linked the ledger with, sealed under the newest; NULL for the newest
);

-- Append-only by its links, which nobody without the root key can make.
CREATE TABLE ledger (
    sequence BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL,
    request_id TEXT NOT NULL,
    peer TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    link BYTEA NOT NULL,
    root_key_version BIGINT NOT NULL, -- that links the entry
    state BYTEA -- a MAC of all sealed rows after the change
);

-- The last archived entry, after which the ledger begins. No row if nothing was archived.
CREATE TABLE ledger_base (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    sequence BIGINT NOT NULL,
    link BYTEA NOT NULL,
    root_key_version BIGINT NOT NULL
);

-- The digest of all seals and the ledger's head, encrypted under the newest root key.
CREATE TABLE state (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    sealed BYTEA NOT NULL
);

-- One row, which every transaction that changes something locks first: the order of the numbers
-- below is the order of commits, and of what others see. A low fillfactor keeps its versions on one
-- page.
CREATE TABLE head (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    sequence BIGINT NOT NULL, -- of the last change
    ledger_sequence BIGINT NOT NULL, -- of the last entry
    link BYTEA NOT NULL,
    writer TEXT COLLATE "C" -- the node that may write; NULL for none
) WITH (fillfactor = 10);

-- What changed: not how, which the tables above say.
CREATE TABLE change (
    sequence BIGINT NOT NULL PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL, -- see postgres/change.rs
    client_id TEXT COLLATE "C",
    key_id TEXT COLLATE "C",
    tag BYTEA NOT NULL, -- random, of the transaction: tells whether its commit took effect
    at TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- One row, advanced by whoever reads changes: proves that the server which answers still commits.
CREATE TABLE beat (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    number BIGINT NOT NULL,
    at TIMESTAMPTZ NOT NULL
) WITH (fillfactor = 10);

-- Programs that use the database.
CREATE TABLE node (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name TEXT NOT NULL, -- of its machine, for people
    build TEXT NOT NULL,
    seen_at TIMESTAMPTZ NOT NULL,
    applied BIGINT NOT NULL DEFAULT 0, -- the last change in its memory
    root_versions TEXT NOT NULL DEFAULT '' -- that it holds, separated by blanks
) WITH (fillfactor = 50);

INSERT INTO head (id, sequence, ledger_sequence, link)
    VALUES (1, 0, 0, decode(repeat('00', 32), 'hex'));
INSERT INTO beat (id, number, at) VALUES (1, 0, now());
