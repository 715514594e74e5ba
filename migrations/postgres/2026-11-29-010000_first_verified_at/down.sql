ALTER TABLE users DROP COLUMN first_verified_at;
