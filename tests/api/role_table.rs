//! The rights of each role. The contract gives them by hand, as `x-role` of each operation, because code can't prove
//! itself. `operations.txt` is printed from the permissions in the code.
use bizcenter::contract::{document, operations};
use std::collections::BTreeMap;

#[test]
fn the_contract_gives_each_operation_the_role_that_the_code_asks_for() {
    let printed = |line: &'static str| {
        let words: Vec<_> = line.split(' ').collect();
        (words[0], words.get(4).copied().unwrap_or(words[3]).to_lowercase())
    };
    let printed: BTreeMap<_, _> = include_str!("../../openapi/operations.txt").lines().map(printed).collect();
    let operations = operations(document());
    for operation in &operations {
        let by_hand = &document()["paths"][&operation.path][operation.method.to_lowercase()]["x-role"];
        let by_hand = by_hand.as_str().unwrap_or_else(|| panic!("{} has no `x-role` in the contract", operation.id));
        assert_eq!(Some(by_hand), printed.get(&*operation.id).map(String::as_str), "{}", operation.id);
    }
    assert_eq!(printed.len(), operations.len(), "operations.txt has operations that the contract lacks");
}
