-- With utf8mb4_bin, "Acme" and "Acme " are the same; the other databases tell them apart. All tables that there are get the
-- collation without padding, those of later migrations have it from the start. Diesel's own is in use meanwhile, and stays.
BEGIN NOT ATOMIC
    FOR t IN (
        SELECT table_name AS name FROM information_schema.tables
        WHERE table_schema = database() AND table_type = 'BASE TABLE' AND table_name <> '__diesel_schema_migrations'
    ) DO
        EXECUTE IMMEDIATE
            CONCAT('ALTER TABLE `', t.name, '` CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin');
    END FOR;
END;
