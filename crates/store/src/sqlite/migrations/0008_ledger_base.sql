-- The last archived entry, after which the ledger begins. No row if nothing was archived. The table
-- `state` has the same, sealed.
CREATE TABLE ledger_base (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    sequence INTEGER NOT NULL,
    link BLOB NOT NULL,
    root_key_version INTEGER NOT NULL -- that linked the entry
) STRICT;

CREATE TRIGGER ledger_base_is_not_removed BEFORE DELETE ON ledger_base
BEGIN
    SELECT RAISE(ABORT, 'the base of the ledger only rises');
END;

CREATE TRIGGER ledger_base_only_rises BEFORE UPDATE ON ledger_base
WHEN NEW.sequence <= OLD.sequence
BEGIN
    SELECT RAISE(ABORT, 'the base of the ledger only rises');
END;

-- Only archived entries can be deleted.
DROP TRIGGER IF EXISTS ledger_is_not_shortened;
CREATE TRIGGER ledger_is_not_shortened BEFORE DELETE ON ledger
WHEN OLD.sequence > coalesce((SELECT sequence FROM ledger_base), 0)
BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;
