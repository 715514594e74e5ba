-- When an address of the user was proved for the first time: what the account made before that ends then. Earlier versions kept
-- only whether the present one is proved, and not since when.
ALTER TABLE users ADD COLUMN first_verified_at timestamptz;
UPDATE users SET first_verified_at = updated_at WHERE email_verified;
