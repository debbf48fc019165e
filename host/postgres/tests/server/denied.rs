//! What a module's roles can't do, even if a statement got past the policy.

use super::Shop;

#[test]
fn the_script_runs_again_and_faults_are_told() {
    let shop = Shop::new();
    assert_eq!(shop.faults(), "");
    shop.server.sql(&shop.database, &shop.application(|application| application.script()));
    assert_eq!(shop.faults(), "");
    let (login, owner) = (&shop.orders.login, &shop.orders.owner);
    for (change, undo, expected) in [
        (format!("ALTER ROLE {login} CREATEDB"), format!("ALTER ROLE {login} NOCREATEDB"), "rights beyond its schema"),
        (format!("GRANT {owner} TO {login}"), format!("REVOKE {owner} FROM {login}"), "is a member of"),
        (
            format!("GRANT CREATE ON SCHEMA public TO {login}"),
            format!("REVOKE CREATE ON SCHEMA public FROM {login}"),
            "can create objects in the schema public",
        ),
        (
            format!("GRANT TEMP ON DATABASE {} TO PUBLIC", shop.database),
            format!("REVOKE TEMP ON DATABASE {} FROM PUBLIC", shop.database),
            "temporary tables",
        ),
        (
            format!("ALTER SCHEMA {login} OWNER TO postgres"),
            format!("ALTER SCHEMA {login} OWNER TO {owner}"),
            "belongs to another role",
        ),
    ] {
        shop.server.sql(&shop.database, &change);
        assert!(shop.faults().contains(expected), "{change}: {}", shop.faults());
        shop.server.sql(&shop.database, &undo);
        assert_eq!(shop.faults(), "", "{undo}");
    }
}

#[test]
fn names_of_roles_are_bounded() {
    use watertight_postgres::roles::ModuleRoles;
    let module = "m".repeat(63 - "shop__owner".len());
    assert_eq!(ModuleRoles::new("shop", &module).unwrap().owner.len(), 63);
    let error = ModuleRoles::new("shop", &format!("{module}m")).unwrap_err().to_string();
    assert!(error.contains("63 bytes"), "{error}");
}

#[test]
fn roles_reach_their_own_schema_only() {
    let shop = Shop::new();
    let (orders, payments) = (&shop.orders, &shop.payments);
    shop.run(&orders.owner, "CREATE TABLE orders (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, a text)").unwrap();
    shop.run(&payments.owner, "CREATE TABLE payments (id int)").unwrap();
    // The login role reads and writes rows.
    shop.run(&orders.login, "INSERT INTO orders (a) VALUES ('x'); UPDATE orders SET a = 'y'; SELECT * FROM orders")
        .unwrap();
    shop.run(&orders.login, "DELETE FROM orders").unwrap();

    let denied = |role: &str, sql: &str| {
        // These do not run beside another statement.
        let alone = ["CREATE DATABASE", "ALTER SYSTEM"].iter().any(|start| sql.starts_with(start));
        let result = if alone { shop.server.try_sql(role, &shop.database, sql) } else { shop.run(role, sql) };
        let error = result.expect_err(sql);
        let known = [
            "permission denied",
            "must be owner",
            "must be superuser",
            "must be member",
            "must have admin",
            "does not exist",
        ];
        assert!(known.iter().any(|text| error.contains(text)), "{role}: {sql}: {error}");
    };
    for sql in [
        // The schema
        "CREATE TABLE t (a int)",
        "DROP TABLE orders",
        "ALTER TABLE orders ADD COLUMN b int",
        "TRUNCATE orders",
        "CREATE INDEX ON orders (a)",
        "CREATE TEMP TABLE t (a int)",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'select 1'",
        "CREATE SCHEMA s",
        "CREATE TRIGGER t AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    ] {
        denied(&orders.login, sql);
    }
    for role in [&orders.login, &orders.owner] {
        for sql in [
            format!("SELECT * FROM {}.payments", payments.schema()),
            format!("INSERT INTO {}.payments VALUES (1)", payments.schema()),
            format!("DROP TABLE {}.payments", payments.schema()),
            format!("CREATE TABLE {}.t (a int)", payments.schema()),
            format!("SET ROLE {}", payments.owner),
            format!("GRANT {} TO {}", payments.owner, orders.login),
            format!("ALTER ROLE {} PASSWORD 'x'", payments.login),
        ] {
            denied(role, &sql);
        }
        for sql in [
            "SET ROLE postgres",
            "CREATE ROLE r",
            "CREATE DATABASE d",
            "CREATE SCHEMA s",
            "CREATE TABLE public.t (a int)",
            "CREATE EXTENSION dblink",
            "COPY (SELECT 1) TO '/tmp/watertight'",
            "COPY (SELECT 1) TO PROGRAM 'true'",
            "ALTER SYSTEM SET work_mem = '1GB'",
            "SELECT * FROM pg_authid",
            "SELECT pg_read_file('/etc/passwd')",
            "SELECT pg_sleep(0)",
            "SELECT pg_notify('a', 'b')",
            "SELECT pg_advisory_lock(1)",
            "SELECT set_config('work_mem', '1GB', false)",
            "SELECT query_to_xml('select 1', true, true, '')",
            "SELECT lo_create(0)",
            "DO $$ BEGIN END $$",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'select 1'",
            "CREATE TEMP TABLE t (a int)",
        ] {
            denied(role, sql);
        }
    }
    // Two hosts that start at once take turns.
    shop.run(&orders.owner, "SELECT pg_advisory_xact_lock(1)").unwrap();
}
