-- When the key begins to sign. Before, every key signed from its creation on.
ALTER TABLE signing_key ADD COLUMN signs_from INTEGER NOT NULL DEFAULT 0;
UPDATE signing_key SET signs_from = created_at;
