-- What limits the use of a key beside its roles: a JSON object; NULL for nothing.
ALTER TABLE api_key ADD COLUMN limits TEXT;
