DO $$
DECLARE
    policy record;
BEGIN
    FOR policy IN SELECT tablename, policyname FROM pg_policies WHERE schemaname = current_schema() LOOP
        EXECUTE format(
            'ALTER POLICY %I ON %I USING (
                tenant_id = nullif(current_setting(''app.tenant_id'', true), '''')::uuid
                OR current_setting(''app.system'', true) = ''on''
            )',
            policy.policyname,
            policy.tablename
        );
    END LOOP;
END
$$;
