//! E-mail addresses in the one form in which they are stored, compared and sent. The part before the `@` is in NFKC and
//! lower case. The domain is in ASCII (A-labels, IDNA 2008 as UTS 46 processes it). Two spellings of one mailbox are
//! one address.
use super::formats::{is_invisible, normalised};
use email_address::EmailAddress;
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use unicode_normalization::UnicodeNormalization;

/// The limits of SMTP (RFC 5321, 4.5.3.1), in bytes.
const MAX_LOCAL_PART: usize = 64;
const MAX_ADDRESS: usize = 254;

const NO_ADDRESS: &str = "must be a valid email";
const QUOTED: &str = "must not have a quoted part before the @, which mail servers refuse";
const NO_DOMAIN_NAME: &str = "must end in a domain name, not in an IP address";
const BAD_DOMAIN: &str = "must end in a domain name that IDNA allows";
const LONG_LOCAL_PART: &str = "must have at most 64 bytes before the @";
const LONG_ADDRESS: &str = "must have at most 254 bytes, with its domain in ASCII";

/// Returns the address in the form in which it is stored. The error says what is wrong with the text. The text must be
/// an address alone: with a name, as in `Ada <ada@example.com>`, it is refused.
pub fn canonical_email(text: &str) -> Result<String, &'static str> {
    let written: String = text.trim().nfkc().collect(); // compatibility forms can hide an `@`
    let (local_part, domain) = written.trim().rsplit_once('@').ok_or(NO_ADDRESS)?;
    let is_quoted = local_part.len() > 1 && local_part.starts_with('"') && local_part.ends_with('"');
    if is_quoted {
        return Err(QUOTED);
    }
    let local_part: String = local_part.to_lowercase().nfkc().collect();
    if local_part.len() > MAX_LOCAL_PART {
        return Err(LONG_LOCAL_PART);
    }
    let has_strange = |text: &str| text.contains(|c: char| c.is_whitespace() || c.is_control() || is_invisible(c));
    if has_strange(&local_part) || has_strange(domain) || !EmailAddress::is_valid_local_part(&local_part) {
        return Err(NO_ADDRESS);
    }
    let domain = ascii_domain(domain)?;
    let address = format!("{local_part}@{domain}");
    if address.len() > MAX_ADDRESS { Err(LONG_ADDRESS) } else { Ok(address) }
}

/// The domain in A-labels, the form that DNS and all mail servers use.
pub fn ascii_domain(domain: &str) -> Result<String, &'static str> {
    if domain.starts_with('[') {
        return Err(NO_DOMAIN_NAME);
    }
    let ascii =
        Uts46::new().to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::CheckFirstLast, DnsLength::Verify);
    let ascii = ascii.map_err(|_| BAD_DOMAIN)?;
    // No top-level domain is a number (RFC 3696, 2), but the end of an IPv4 address is.
    match ascii.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit())) {
        true => Err(NO_DOMAIN_NAME),
        false => Ok(ascii.into_owned()),
    }
}

/// The form in which the name of a sign-in is looked up: an address in its canonical form, a username normalised.
/// Earlier versions stored addresses that the rules now refuse. Such an address is looked up in its normalised form,
/// because it was stored in that form.
pub fn canonical_login(name: &str) -> String {
    canonical_email(name).unwrap_or_else(|_| normalised(name))
}

/// The forms in which this canonical address may be stored. The address itself comes first. Earlier versions stored
/// domains as people wrote them and not in A-labels.
pub fn stored_forms(email: &str) -> Vec<String> {
    let mut forms = vec![email.to_owned()];
    if let Some((local_part, domain)) = email.rsplit_once('@')
        && domain.split('.').any(|label| label.starts_with("xn--"))
        && let (unicode, Ok(())) = idna::domain_to_unicode(domain)
    {
        forms.push(format!("{local_part}@{unicode}"));
    }
    forms
}

/// The text to search for among stored addresses. They are stored in ASCII, so that an address or a domain with other
/// letters is converted.
pub fn searched_form(text: &str) -> String {
    let in_ascii = if text.is_ascii() { None } else { canonical_email(text).or_else(|_| ascii_domain(text)).ok() };
    in_ascii.unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_address_are_one() {
        for text in [
            "kim@예시.com",
            "kim@xn--vv4b11d.com",
            "KIM@XN--VV4B11D.COM",
            " kim@예시.com\u{a0}",
            "kim@예시。com",
            "kim@예시．com",
            "kim@예시｡com",
            "kim＠예시.ｃｏｍ",
            "kim@\u{110b}\u{1168}\u{1109}\u{1175}.com", // decomposed, as a Mac's file names are
        ] {
            assert_eq!(canonical_email(text).as_deref(), Ok("kim@xn--vv4b11d.com"), "{text}");
        }
        for text in ["ada@example.com", " ADA@Example.COM ", "\u{ff41}da@example.com", "ada@example。com"] {
            assert_eq!(canonical_email(text).as_deref(), Ok("ada@example.com"), "{text}");
        }
    }

    #[test]
    fn a_local_part_in_any_script_is_kept() {
        assert_eq!(canonical_email("김@예시.com").as_deref(), Ok("김@xn--vv4b11d.com"));
        assert_eq!(canonical_email("E\u{301}lan+x@example.com").as_deref(), Ok("élan+x@example.com"));
    }

    #[test]
    fn a_domain_is_mapped_from_what_was_written() {
        // Lower-casing the whole address would make a final ς of the Σ, which is another domain.
        assert_eq!(canonical_email("ada@ΒΌΛΟΣ.com").as_deref(), canonical_email("ada@βόλοσ.com").as_deref());
        assert_eq!(canonical_email("ada@Bücher.example").as_deref(), Ok("ada@xn--bcher-kva.example"));
        assert_eq!(canonical_email("ada@straße.example").as_deref(), Ok("ada@xn--strae-oqa.example"));
    }

    #[test]
    fn what_no_mail_server_takes_is_refused_and_says_why() {
        for (text, why) in [
            ("\"ada lovelace\"@example.com", QUOTED),
            ("\"ada\"@example.com", QUOTED),
            ("\"a\nb\"@example.com", QUOTED),
            ("ada@[127.0.0.1]", NO_DOMAIN_NAME),
            ("ada@[IPv6:::1]", NO_DOMAIN_NAME),
            ("ada@127.0.0.1", NO_DOMAIN_NAME),
            ("ada@exa_mple.com", BAD_DOMAIN),
            ("ada@example..com", BAD_DOMAIN),
            ("ada@example.com.", BAD_DOMAIN),
            ("ada@-example.com", BAD_DOMAIN),
            ("ada@xn--a.com", BAD_DOMAIN),
            ("ada@", BAD_DOMAIN),
            ("ada@\u{301}예시.com", BAD_DOMAIN),
            ("", NO_ADDRESS),
            ("ada", NO_ADDRESS),
            ("@example.com", NO_ADDRESS),
            ("\"@example.com", NO_ADDRESS),
            ("a..b@example.com", NO_ADDRESS),
            ("ada @example.com", NO_ADDRESS),
            ("ada@ example.com", NO_ADDRESS),
            ("ada\u{ff20}home@example.com", NO_ADDRESS),
            ("a\u{fdfa}@example.com", NO_ADDRESS),
            ("Ada <ada@example.com>", NO_ADDRESS),
            ("a\u{85}b@example.com", NO_ADDRESS),
            ("ada\u{115f}@example.com", NO_ADDRESS),
            ("ada\u{1160}@example.com", NO_ADDRESS),
            ("ada\u{3164}@example.com", NO_ADDRESS),
            ("ada\u{ffa0}@example.com", NO_ADDRESS),
            ("a\u{17b4}da@example.com", NO_ADDRESS),
            ("ada@ex\u{3164}ample.com", NO_ADDRESS),
            ("ada\u{e0100}@example.com", NO_ADDRESS),
        ] {
            assert_eq!(canonical_email(text), Err(why), "{text:?}");
        }
    }

    #[test]
    fn the_bounds_of_smtp_hold_for_what_is_sent() {
        assert!(canonical_email(&format!("{}@example.com", "x".repeat(64))).is_ok());
        assert_eq!(canonical_email(&format!("{}@example.com", "x".repeat(65))), Err(LONG_LOCAL_PART));
        assert!(canonical_email(&format!("{}@example.com", "김".repeat(21))).is_ok());
        assert_eq!(canonical_email(&format!("{}@example.com", "김".repeat(22))), Err(LONG_LOCAL_PART), "66 bytes");
        let labels = |last: usize| format!("{0}.{0}.{0}.{1}", "x".repeat(61), "y".repeat(last));
        assert!(canonical_email(&format!("ada@{}", labels(61))).is_ok());
        let local_part = "x".repeat(64);
        assert_eq!(canonical_email(&format!("{local_part}@{}", labels(61))), Err(LONG_ADDRESS));
        assert_eq!(
            canonical_email(&format!("ada@{}.com", "예".repeat(60))),
            Err(BAD_DOMAIN),
            "a label of more than 63 in ASCII"
        );
    }

    #[test]
    fn an_address_of_before_is_looked_for_in_both_forms() {
        assert_eq!(stored_forms("kim@xn--vv4b11d.com"), ["kim@xn--vv4b11d.com", "kim@예시.com"]);
        assert_eq!(stored_forms("ada@example.com"), ["ada@example.com"]);
        assert_eq!(stored_forms("ada"), ["ada"]);
    }

    #[test]
    fn stored_addresses_are_searched_for_in_ascii() {
        assert_eq!(searched_form("예시.com"), "xn--vv4b11d.com");
        assert_eq!(searched_form("Kim@예시.com"), "kim@xn--vv4b11d.com");
        assert_eq!((searched_form("Ada@"), searched_form("김 철수")), ("Ada@".to_owned(), "김 철수".to_owned()));
    }

    #[test]
    fn other_names_are_normalised() {
        assert_eq!(canonical_login(" Ada.L "), "ada.l");
        assert_eq!(canonical_login("\"Ada L\"@example.com"), "\"ada l\"@example.com", "as it was stored");
        assert_eq!(canonical_login("Kim@예시.com"), "kim@xn--vv4b11d.com");
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_its_own(text in "\\PC{1,12}@\\PC{1,12}(\\.|。)(com|한국|\\PC{1,4})") {
            if let Ok(email) = canonical_email(&text) {
                prop_assert!(email.len() <= MAX_ADDRESS);
                prop_assert!(email.rsplit_once('@').unwrap().1.is_ascii());
                prop_assert_eq!(canonical_email(&email), Ok(email.clone()));
                let forms = stored_forms(&email);
                prop_assert_eq!(&forms[0], &email);
            }
        }
    }
}
