//! The column type of e-mail addresses.
use crate::base::addresses::{canonical_email, canonical_login, stored_forms};
use diesel::backend::Backend;
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;
use serde::Serialize;
use std::fmt;

/// An e-mail address in its canonical form (`base::addresses`). Queries store addresses and look them up in this form.
/// There is no other way to make an `Email`, so that no query can get an address in the form in which it was typed.
///
/// An `Email` is not read from the database directly. Addresses that were stored before these rules have an older form,
/// and row types therefore have them as `String`. [`Self::of_stored`] converts them, so that they can be compared.
#[derive(Debug, Clone, PartialEq, Eq, AsExpression, Serialize)]
#[diesel(sql_type = Text)]
pub struct Email(String);

impl Email {
    /// Parses an address that a user entered. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        canonical_email(text).map(Self)
    }

    /// Converts an address that was stored under today's rules or earlier ones. If today's rules refuse it, it stays as
    /// it was stored.
    pub fn of_stored(text: &str) -> Self {
        Self(canonical_login(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The forms in which the address may be stored, the canonical one first. A query must look for all of them.
    pub fn stored_forms(&self) -> Vec<String> {
        stored_forms(&self.0)
    }
}

/// Validators take the address as text.
impl AsRef<str> for Email {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<DB: Backend> ToSql<Text, DB> for Email
where
    String: ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.0.to_sql(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_its_canonical_form() {
        let email = Email::parse(" KIM@예시.com").unwrap();
        assert_eq!(email.as_str(), "kim@xn--vv4b11d.com");
        assert_eq!(email.stored_forms(), ["kim@xn--vv4b11d.com", "kim@예시.com"]);
        assert_eq!(Email::of_stored("Kim@예시.com"), email);
        assert!(Email::parse("\"Ada L\"@example.com").is_err());
    }

    #[test]
    fn an_address_that_is_refused_today_stays_as_it_was_stored() {
        assert_eq!(Email::of_stored("\"ada l\"@example.com").as_str(), "\"ada l\"@example.com");
    }
}
