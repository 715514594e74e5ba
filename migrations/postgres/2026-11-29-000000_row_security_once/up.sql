-- The policies read their settings in scalar subselects, which PostgreSQL evaluates once for a statement; a plain
-- current_setting() is called for every row. Policies of later migrations are written like this from the start.
DO $$
DECLARE
    policy record;
BEGIN
    FOR policy IN SELECT tablename, policyname FROM pg_policies WHERE schemaname = current_schema() LOOP
        EXECUTE format(
            'ALTER POLICY %I ON %I USING (
                tenant_id = (SELECT nullif(current_setting(''app.tenant_id'', true), '''')::uuid)
                OR (SELECT current_setting(''app.system'', true) = ''on'')
            )',
            policy.policyname,
            policy.tablename
        );
    END LOOP;
END
$$;
