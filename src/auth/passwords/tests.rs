//! Tests which passwords match, which hashes are renewed, and which requests wait for which.
use super::*;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::time::Duration;
use tokio::time::timeout;
use unicode_normalization::UnicodeNormalization;

/// 24 syllables: 72 bytes in composed form, and far more than 72 in decomposed form, as macOS may send them.
const HANGUL: &str = "한글로된비밀번호스물네글자를꼭채워서적어봅니다요";

fn passwords(cost: u32) -> Passwords {
    Passwords::new(cost, Env::real(), QueueGauges::default())
}

fn anybody() -> Claimant {
    Claimant::visitor(None)
}

fn decomposed(text: &str) -> String {
    text.nfd().collect()
}

/// A hash as it was made before passwords were normalised.
fn old_hash(typed: &str, cost: u32) -> String {
    hash(typed, cost, [7; 16]).unwrap()
}

/// `None` if the password does not match. Otherwise, whether it matches only as it was typed.
async fn fits(passwords: &Passwords, typed: &str, hash: Option<&str>) -> Option<bool> {
    let checked = passwords.verify(anybody(), &Password::new(typed), hash.map(str::to_owned)).await.unwrap();
    checked.map(|checked| checked.is_of_typed)
}

#[tokio::test]
async fn only_the_right_password_fits() {
    let passwords = passwords(4);
    let hash = passwords.hash(anybody(), &Password::new("correct horse")).await.unwrap();
    assert!(hash.starts_with("$2b$04$"));
    assert_eq!(fits(&passwords, "correct horse", Some(&hash)).await, Some(false));
    assert_eq!(fits(&passwords, "correct horsE", Some(&hash)).await, None);
    assert_eq!(fits(&passwords, "nobody's password", None).await, None);
}

#[tokio::test]
async fn a_password_fits_however_its_letters_are_typed() {
    let passwords = passwords(4);
    for (set, typed) in [(HANGUL.to_owned(), decomposed(HANGUL)), (decomposed(HANGUL), HANGUL.to_owned())] {
        let hash = passwords.hash(anybody(), &Password::new(&set)).await.unwrap();
        assert_eq!(fits(&passwords, &typed, Some(&hash)).await, Some(false));
        assert_eq!(fits(&passwords, &set, Some(&hash)).await, Some(false));
        assert_eq!(fits(&passwords, &decomposed("한글로된"), Some(&hash)).await, None);
    }
    let wide = passwords.hash(anybody(), &Password::new("１２３４ｐａｓｓ")).await.unwrap();
    assert_eq!(fits(&passwords, "1234pass", Some(&wide)).await, Some(false));
}

#[tokio::test]
async fn a_hash_of_what_was_typed_fits_once_more_and_is_renewed() {
    let passwords = passwords(4);
    let typed = decomposed("비밀번호 하나"); // 43 bytes
    let password = Password::new(&typed);
    let old = old_hash(&typed, 4);
    let checked = passwords.verify(anybody(), &password, Some(old.clone())).await.unwrap().unwrap();
    assert!(checked.is_of_typed && checked.hash == old);
    let renewed = passwords.renewed(anybody(), &password, &checked).await.unwrap().unwrap();
    assert_eq!(fits(&passwords, "비밀번호 하나", Some(&renewed)).await, Some(false));
    assert_eq!(fits(&passwords, "비밀번호 하나", Some(&old)).await, None, "the composed form was never this hash's");
    assert_eq!(fits(&passwords, &decomposed("비밀번호 둘"), Some(&old)).await, None);
}

#[tokio::test]
async fn what_is_too_long_when_it_is_normalised_keeps_its_hash() {
    let passwords = passwords(4);
    let typed = "\u{fdfa}".repeat(8); // 24 bytes, and each character is a sentence in NFKC
    let password = Password::new(&typed);
    assert!(password.bytes() > MAX_BYTES);
    let checked = passwords.verify(anybody(), &password, Some(old_hash(&typed, 4))).await.unwrap().unwrap();
    assert!(checked.is_of_typed);
    assert_eq!(passwords.renewed(anybody(), &password, &checked).await.unwrap(), None);
    assert!(passwords.hash(anybody(), &password).await.is_err());
}

#[tokio::test]
async fn a_hash_of_another_cost_is_renewed() {
    let password = Password::new("correct horse");
    let (old, new) = (passwords(4), passwords(5));
    let hash = old.hash(anybody(), &password).await.unwrap();
    let checked = old.verify(anybody(), &password, Some(hash.clone())).await.unwrap().unwrap();
    assert_eq!(old.renewed(anybody(), &password, &checked).await.unwrap(), None);
    let checked = new.verify(anybody(), &password, Some(hash.clone())).await.unwrap().unwrap();
    let renewed = new.renewed(anybody(), &password, &checked).await.unwrap().unwrap();
    assert!(renewed.starts_with("$2b$05$"));
    assert_eq!(fits(&old, "correct horse", Some(&renewed)).await, Some(false));
    assert_eq!(fits(&new, "wrong", Some(&hash)).await, None);
}

#[tokio::test]
async fn what_bcrypt_would_cut_off_is_not_ignored() {
    let passwords = passwords(4);
    let hash = passwords.hash(anybody(), &Password::new(&"x".repeat(72))).await.unwrap();
    assert_eq!(fits(&passwords, &"x".repeat(72), Some(&hash)).await, Some(false));
    assert_eq!(fits(&passwords, &"x".repeat(73), Some(&hash)).await, None);
    // The same applies if only the typed form is too long.
    let typed = decomposed(HANGUL);
    let cut = old_hash(&typed, 4); // a hash of the first 72 bytes, as bcrypt made it
    assert_eq!(fits(&passwords, &typed, Some(&cut)).await, None);
}

/// The hashing of a password for this address, which waits for its turn.
fn waits(passwords: &Passwords, address: [u8; 4]) -> BoxFuture<'static, Result<String>> {
    let passwords = passwords.clone();
    let claimant = Claimant::visitor(Some(address.into()));
    let mut hash = async move { passwords.hash(claimant, &Password::new("correct horse")).await }.boxed();
    assert!((&mut hash).now_or_never().is_none(), "it did not have to wait");
    hash
}

#[tokio::test]
async fn an_address_that_fills_the_queue_keeps_no_other_waiting() {
    // The queue has one core, so that requests are served in the order of their turns.
    let queue = FairQueue::new(1, 1, QueueGauges::default());
    let passwords = Passwords { queue, places: 4, ..passwords(4) };
    let held = passwords.queue.turn_among(anybody(), 4).await.unwrap();
    let mut many: Vec<_> = (0..4).map(|_| waits(&passwords, [192, 0, 2, 1])).collect();
    let refused = passwords.hash(Claimant::visitor(Some([192, 0, 2, 1].into())), &Password::new("correct horse")).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "its places are taken");
    let other = waits(&passwords, [192, 0, 2, 2]);
    let last = many.pop().unwrap();
    assert!(matches!(last.await, Err(Error::Unavailable(_))), "one of them made room");
    drop(held);
    many.remove(0).await.unwrap();
    // The remaining requests of the first address are not polled meanwhile. If one of them had the turn, this request
    // would never get it.
    let other = timeout(Duration::from_secs(60), other).await;
    other.expect("the other address is next").unwrap();
    for waiting in many {
        waiting.await.unwrap();
    }
}
