-- The expiry that an admin set for a secret. Nobody knows who set the dates of earlier secrets.
ALTER TABLE secret ADD COLUMN admin_expiry INTEGER;
UPDATE secret SET admin_expiry = expires_at;

-- Earlier signing keys made signatures with a high s, for tokens that live for a day at most. The
-- clock is SQLite's: a migration has no argument.
ALTER TABLE signing_key ADD COLUMN high_s_until INTEGER;
UPDATE signing_key SET high_s_until = (unixepoch() + 86400) * 1000000;
