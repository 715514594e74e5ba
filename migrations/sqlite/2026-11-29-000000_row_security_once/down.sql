-- Only PostgreSQL has row-level security.
SELECT 1;
