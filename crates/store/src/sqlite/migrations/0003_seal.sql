-- Seals, see core/src/seal. A row without one is refused, once the store is sealed.
ALTER TABLE api_key ADD COLUMN seal BLOB; -- over the key and its secrets
ALTER TABLE denial ADD COLUMN seal BLOB;
ALTER TABLE signing_key ADD COLUMN seal BLOB;

-- A MAC of all sealed rows after the change; NULL in entries from before the store was sealed.
ALTER TABLE ledger ADD COLUMN state BLOB;

-- The digest of all seals and the ledger's head, encrypted under the newest root key.
CREATE TABLE state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    sealed BLOB NOT NULL
) STRICT;
