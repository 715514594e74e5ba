//! Amounts in the database: the bytes stay the same while the amount does, and can be decrypted only in their own
//! place.
use crate::contracts::{CONTRACTS, path_of};
use crate::support::{Answer, Kind, Person, TestApp};
use serde_json::{Value, json};
use uuid::Uuid;

const AMOUNT: &str = "918273645546372.81";

/// A column of one row.
struct Cell<'a> {
    app: &'a TestApp,
    table: &'static str,
    column: &'static str,
    id: Uuid,
}

impl Cell<'_> {
    fn of<'a>(app: &'a TestApp, contract: &Value) -> Cell<'a> {
        Cell { app, table: "contracts", column: "amount_sealed", id: contract["id"].as_str().unwrap().parse().unwrap() }
    }

    fn place(&self) -> String {
        format!("id = {}", self.app.id(self.id))
    }

    async fn read(&self) -> Vec<u8> {
        let hex = match self.app.database.kind {
            Kind::Postgres => format!("encode({}, 'hex')", self.column),
            Kind::Sqlite | Kind::Mariadb => format!("hex({})", self.column),
        };
        let rows = self.app.rows(&format!("SELECT {hex} FROM {} WHERE {}", self.table, self.place())).await;
        let hex = rows.concat().concat();
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
    }

    async fn write(&self, bytes: &[u8]) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let literal = match self.app.database.kind {
            Kind::Postgres => format!("'\\x{hex}'::bytea"),
            Kind::Sqlite | Kind::Mariadb => format!("x'{hex}'"),
        };
        self.app.run(&format!("UPDATE {} SET {} = {literal} WHERE {}", self.table, self.column, self.place())).await;
    }
}

#[track_caller]
fn assert_broken(answer: &Answer) {
    assert_eq!((answer.error(), answer.detail()), ((500, "internal_error".to_owned()), json!({})));
    assert!(!answer.text().contains("918273645546372"), "{}", answer.text());
}

/// A caller who may see the amount gets an error and no value. Other callers see the same as always.
async fn assert_hidden_from_all(admin: &Person, editor: &Person, contract: &Value) {
    let path = path_of(contract);
    for call in [
        admin.get(&path),
        admin.get(CONTRACTS),
        admin.get(&format!("{CONTRACTS}/export")),
        admin.patch(&path).json(&json!({"title": "x"})),
        admin.patch(&path).json(&json!({"amount": "1"})),
    ] {
        assert_broken(&call.send().await);
    }
    assert_eq!(editor.get(&path).expect(200).await.json()["amount"], json!(null));
    assert_eq!(editor.get(&path).expect(200).await.json()["version"], contract["version"], "nothing was changed");
}

#[tokio::test]
async fn a_value_that_was_changed_or_moved_does_not_open() {
    let app = TestApp::alone().await;
    let (tenant, stranger) = (app.tenant().await, app.tenant().await.owner);
    let (owner, admin, editor) = (&tenant.owner, tenant.admin().await, tenant.editor().await);
    let (one, two) = (owner.contract(json!({"amount": AMOUNT})).await, owner.contract(json!({"amount": "5"})).await);
    let theirs = stranger.contract(json!({"amount": "5"})).await;
    let (of_one, of_two, of_theirs) = (Cell::of(&app, &one), Cell::of(&app, &two), Cell::of(&app, &theirs));
    let (first, second, third) = (of_one.read().await, of_two.read().await, of_theirs.read().await);
    assert!(first.len() > 9 && first.len() == second.len(), "the length tells nothing");

    of_one.write(&second).await;
    of_two.write(&first).await; // swapped
    assert_hidden_from_all(&admin, &editor, &one).await;
    assert_hidden_from_all(&admin, &editor, &two).await;
    of_two.write(&second).await;

    of_theirs.write(&first).await; // another tenant's row
    assert_broken(&stranger.get(&path_of(&theirs)).send().await);
    of_theirs.write(&third).await;
    of_one.write(&third).await;
    assert_hidden_from_all(&admin, &editor, &one).await;

    for index in (0..first.len()).step_by(3) {
        let mut changed = first.clone();
        changed[index] ^= 1;
        of_one.write(&changed).await;
        assert_broken(&admin.get(&path_of(&one)).send().await);
    }
    for other in [&[][..], &first[..first.len() - 1], AMOUNT.as_bytes(), &[0; 37]] {
        of_one.write(other).await;
        assert_broken(&admin.get(&path_of(&one)).send().await);
    }
    let failures = app.parts.metrics.unsealing_failures.get();
    assert!(failures >= 20, "{failures} were counted");
    of_one.write(&first).await;
    assert_eq!(admin.get(&path_of(&one)).expect(200).await.json(), one, "it was that which they noticed");
    assert_eq!(app.parts.metrics.unsealing_failures.get(), failures);
    of_one.write(&second).await;
    owner.delete(&path_of(&one)).expect(204).await; // a broken contract can be deleted
}

#[tokio::test]
async fn an_amount_of_the_history_does_not_open_elsewhere() {
    let app = TestApp::alone().await;
    let tenant = app.tenant().await;
    let (owner, editor) = (&tenant.owner, tenant.editor().await);
    let contract = owner.contract(json!({"amount": "5"})).await;
    owner.patch(&path_of(&contract)).json(&json!({"amount": AMOUNT})).expect(200).await;
    let path = format!("{}/history", path_of(&contract));
    let entry = owner.get(&path).expect(200).await.json()["items"][0].clone();
    assert_eq!((&entry["from"], &entry["to"]), (&json!("5.00"), &json!(AMOUNT)));
    let id = entry["id"].as_str().unwrap().parse().unwrap();
    let cell = |column| Cell { app: &app, table: "contract_history", column, id };
    let (from, to, of_contract) = (cell("from_sealed"), cell("to_sealed"), Cell::of(&app, &contract));
    let (before, after, current) = (from.read().await, to.read().await, of_contract.read().await);
    for (place, bytes) in [(&from, &after), (&to, &before), (&to, &current), (&of_contract, &after)] {
        let good = place.read().await;
        place.write(bytes).await;
        let path = if place.table == "contracts" { path_of(&contract) } else { path.clone() };
        assert_broken(&owner.get(&path).send().await);
        editor.get(&path).expect(200).await;
        place.write(&good).await;
        owner.get(&path).expect(200).await;
    }
}

#[tokio::test]
async fn an_amount_that_stays_keeps_its_bytes() {
    let app = TestApp::alone().await;
    let owner = app.tenant().await.owner;
    let contract = owner.contract(json!({"amount": "5"})).await;
    let (path, cell) = (path_of(&contract), Cell::of(&app, &contract));
    let sealed = cell.read().await;
    for members in [json!({"title": "New"}), json!({"amount": "5.00"}), json!({"currency": "KWD"}), json!({})] {
        owner.patch(&path).json(&members).expect(200).await;
        assert_eq!(cell.read().await, sealed, "{members}");
    }
    owner.patch(&path).json(&json!({"amount": "6"})).expect(200).await;
    let other = cell.read().await;
    owner.patch(&path).json(&json!({"amount": "5"})).expect(200).await;
    assert!(other != sealed && cell.read().await != sealed, "equal amounts look different");
    owner.patch(&path).json(&json!({"amount": null})).expect(200).await;
    let none = format!("SELECT title FROM contracts WHERE {} AND amount_sealed IS NULL", cell.place());
    assert_eq!(app.rows(&none).await.len(), 1);
}
