//! The column type of e-mail addresses.
use crate::base::addresses::{canonical_email, canonical_login, stored_forms};
use diesel::backend::Backend;
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;
use std::fmt;

/// An e-mail address in its canonical form (`base::addresses`): the form in which queries store it, and by which they look it
/// up. There is no other way to make one, so that no query can meet an address as somebody happened to type it.
///
/// It is not read from the database as such: addresses that were stored before these rules are in the form of their time, and
/// rows have them as texts. [`Self::of_stored`] makes them comparable.
#[derive(Debug, Clone, PartialEq, Eq, AsExpression)]
#[diesel(sql_type = Text)]
pub struct Email(String);

impl Email {
    /// The address that somebody gave, or what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        canonical_email(text).map(Self)
    }

    /// An address that was accepted before, by today's rules or by former ones. One that today's rules refuse stays as it was
    /// stored.
    pub fn of_stored(text: &str) -> Self {
        Self(canonical_login(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The forms in which the address may be stored, the canonical one first: what a query has to look for.
    pub fn stored_forms(&self) -> Vec<String> {
        stored_forms(&self.0)
    }
}

/// As validators look at it.
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
