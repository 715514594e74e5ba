//! Amounts of money. They are exact, and only [`Amount::reveal`] shows them.
use zeroize::Zeroizing;

/// The most decimal places of a currency in ISO 4217.
const MAX_PLACES: u32 = 4;
const MAX_WHOLE_DIGITS: usize = 15;
/// The pattern of the text in the API contract.
pub const AMOUNT_PATTERN: &str = r"^(0|[1-9][0-9]{0,14})(\.[0-9]{1,4})?$";

/// The number of decimal places of a currency, or `None` if ISO 4217 does not have it. Gold and similar units have no
/// minor unit and get 4 places, the most of any currency.
pub fn places_of(currency: &str) -> Option<u32> {
    let currency = iso_currency::Currency::from_code(currency)?;
    Some(currency.exponent().map_or(MAX_PLACES, u32::from))
}

/// An amount from 0 to 999,999,999,999,999.9999. `Debug` prints `***`, and the value is wiped from memory when it is
/// dropped. Two amounts are equal if they have the same value, whatever their decimal places.
#[derive(Clone)]
pub struct Amount {
    /// The value in ten-thousandths.
    units: Zeroizing<u64>,
    /// The number of decimal places with which the amount is written.
    places: u32,
}

impl Amount {
    /// The length in bytes. All amounts have the same length, so that the length of a ciphertext reveals nothing.
    pub const BYTES: usize = 9;

    /// Reads a text that matches [`AMOUNT_PATTERN`].
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = match text.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (text, ""),
        };
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let has_form = (1..=MAX_WHOLE_DIGITS).contains(&whole.len()) && (whole == "0" || !whole.starts_with('0'));
        let places = u32::try_from(fraction.len()).ok().filter(|places| *places <= MAX_PLACES)?;
        if !has_form || !is_number(whole) || !is_number(fraction) {
            return None;
        }
        let digits = Zeroizing::new(format!("{whole}{fraction:0<4}"));
        Some(Self { units: Zeroizing::new(digits.parse().ok()?), places })
    }

    /// The same amount with this number of decimal places. `None` if the amount needs more places, or if `places` is
    /// more than 4.
    pub fn with_places(&self, places: u32) -> Option<Self> {
        let unused = 10_u64.pow(MAX_PLACES.checked_sub(places)?);
        self.units.is_multiple_of(unused).then(|| Self { units: self.units.clone(), places })
    }

    /// The amount as a text. This is the only way to see the value, and only for callers who may see it.
    pub fn reveal(&self) -> String {
        let one = 10_u64.pow(MAX_PLACES);
        let (whole, fraction) = (*self.units / one, *self.units % one);
        match self.places {
            0 => whole.to_string(),
            places => {
                format!("{whole}.{:0width$}", fraction / 10_u64.pow(MAX_PLACES - places), width = places as usize)
            }
        }
    }

    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::BYTES]> {
        let mut bytes = Zeroizing::new([0; Self::BYTES]);
        bytes[0] = u8::try_from(self.places).unwrap_or_default(); // there are 4 at most
        bytes[1..].copy_from_slice(&self.units.to_be_bytes());
        bytes
    }

    /// Reads the bytes that [`Self::to_bytes`] returned.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (places, units) = bytes.split_first()?;
        let units = Zeroizing::new(u64::from_be_bytes(units.try_into().ok()?));
        Self { units, places: MAX_PLACES }.with_places(u32::from(*places))
    }
}

impl PartialEq for Amount {
    fn eq(&self, other: &Self) -> bool {
        self.units == other.units
    }
}

impl std::fmt::Debug for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regex::Regex;

    fn reveal(text: &str) -> String {
        Amount::parse(text).unwrap().reveal()
    }

    #[test]
    fn every_currency_has_its_places() {
        let places = ["JPY", "KRW", "USD", "KWD", "CLF", "XAU", "usd", "XYZ", ""].map(places_of);
        assert_eq!(places, [Some(0), Some(0), Some(2), Some(3), Some(4), Some(4), None, None, None]);
        let letters = || 'A'..='Z';
        let codes = letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| format!("{a}{b}{c}"))));
        let known: Vec<_> = codes.filter_map(|code| places_of(&code)).collect();
        assert!(known.len() > 150 && known.iter().all(|places| *places <= MAX_PLACES), "{}", known.len());
    }

    #[test]
    fn the_limits_are_kept_to_the_last_digit() {
        for text in ["0", "0.0", "0.0001", "1", "10", "0.9", "918273645546372.81", "999999999999999.9999"] {
            assert_eq!(reveal(text), text);
        }
        for bad in [
            "",
            ".",
            "1.",
            ".5",
            "00",
            "01",
            "1000000000000000",
            "1.00000",
            "+1",
            "-1",
            "-0",
            "1e3",
            "1,5",
            " 1",
            "1 ",
            "0x1",
            "１",
            "1.５",
            "NaN",
            "inf",
            "1.2.3",
            "1_000",
            "1\n",
            "1.5\n",
        ] {
            assert!(Amount::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn places_are_added_and_taken_where_nothing_is_lost() {
        let stated =
            |text: &str, places| Amount::parse(text).unwrap().with_places(places).map(|amount| amount.reveal());
        assert_eq!(stated("12", 2).as_deref(), Some("12.00"));
        assert_eq!(stated("12.5", 3).as_deref(), Some("12.500"));
        assert_eq!(stated("12.00", 0).as_deref(), Some("12"));
        assert_eq!(stated("12.50", 0), None);
        assert_eq!(stated("12.001", 2), None);
        assert_eq!(stated("12", 5), None);
    }

    #[test]
    fn it_is_out_of_sight() {
        let amount = Amount::parse("918273645546372.81");
        assert_eq!(format!("{amount:?}"), "Some(***)");
    }

    #[test]
    fn bytes_that_are_no_amount_are_refused() {
        for bytes in [&[][..], &[0; 8], &[0; 10], &[5, 0, 0, 0, 0, 0, 0, 0, 0], &[2, 0, 0, 0, 0, 0, 0, 0, 1]] {
            assert!(Amount::from_bytes(bytes).is_none(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_printed(text in r"(0|[1-9][0-9]{0,14})(\.[0-9]{1,4})?") {
            let amount = Amount::parse(&text).unwrap();
            prop_assert_eq!(amount.reveal(), text);
            let again = Amount::from_bytes(&*amount.to_bytes()).unwrap();
            prop_assert_eq!(again.reveal(), amount.reveal());
        }

        #[test]
        fn it_reads_what_the_pattern_says_and_no_more(text in r"[-+0-9.e ]{0,24}") {
            let pattern = Regex::new(AMOUNT_PATTERN).unwrap();
            prop_assert_eq!(Amount::parse(&text).is_some(), pattern.is_match(&text));
        }

        #[test]
        fn more_places_change_nothing_but_the_form(whole in 0_u64..1_000_000_000_000_000, cents in 0_u64..100) {
            let amount = Amount::parse(&format!("{whole}.{cents:02}")).unwrap();
            let wider = amount.with_places(4).unwrap();
            prop_assert_eq!(&wider, &amount);
            prop_assert_eq!(wider.reveal(), format!("{whole}.{cents:02}00"));
            prop_assert_eq!(wider.with_places(2).unwrap().reveal(), amount.reveal());
            prop_assert_eq!(amount.with_places(0).is_some(), cents == 0);
        }
    }
}
