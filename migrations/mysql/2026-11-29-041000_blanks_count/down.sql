-- `key_checks` was made without padding. This fails where two names differ by nothing but blanks at their ends.
BEGIN NOT ATOMIC
    FOR t IN (
        SELECT table_name AS name FROM information_schema.tables
        WHERE table_schema = database() AND table_type = 'BASE TABLE'
            AND table_name NOT IN ('__diesel_schema_migrations', 'key_checks')
    ) DO
        EXECUTE IMMEDIATE CONCAT('ALTER TABLE `', t.name, '` CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin');
    END FOR;
END;
