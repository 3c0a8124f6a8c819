-- A key can hold several roles. `role` is the highest.
ALTER TABLE api_key ADD COLUMN other_roles TEXT; -- names separated by blanks; NULL for none

-- To find another admin before the last one is lost.
CREATE INDEX api_key_of_admin ON api_key (client_id) WHERE role = 'admin';
