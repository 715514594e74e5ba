//! The terms of texts, under which a search finds them.
//!
//! A word is a run of letters, digits and marks. A word of Latin, Greek, Cyrillic and most other letters is one term.
//! Words of Chinese, Japanese and Thai have no blanks between them, and words of Korean carry endings. Their runs are cut
//! into pairs of neighbouring letters, and each pair is a term. The last letter of such a run is a term, too, so that each
//! letter is the beginning of a term.
//!
//! Letters are compared in the compatibility form of Unicode (NFKC, UAX #15) and regardless of case (full case folding,
//! Unicode 3.13). So `ﬁ` is found as `fi`, `STRASSE` as `straße`, and `Ａ` as `a`.
use icu_casemap::CaseMapper;
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup, Script};
use icu_properties::{CodePointMapData, CodePointSetData};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use unicode_normalization::UnicodeNormalization;

/// The greatest length of a term, in characters. Of a longer word, the beginning is the term.
pub const MAX_TERM: usize = 64;

/// The greatest number of words of a search.
pub const MAX_WORDS: usize = 8;

/// The greatest number of terms of a search. Of the pairs of more letters, the first ones of each word count.
const MAX_WANTED: usize = 24;

/// The greatest length of a snippet, in characters.
const MAX_SNIPPET: usize = 160;

/// How many characters of a snippet stand before the first hit.
const BEFORE_HIT: usize = 40;

/// What a letter is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Nothing: it separates words.
    Separator,
    /// A word that is one term.
    Word,
    /// A run that is cut into pairs.
    Pairs,
}

/// A letter as it is compared, and where the letters that it stands for are in the text, in bytes.
#[derive(Debug, Clone)]
struct Letter {
    c: char,
    at: Range<usize>,
}

/// Letters of one class that follow each other.
#[derive(Debug)]
struct Run {
    class: Class,
    letters: Vec<Letter>,
}

fn class(c: char, before: Class) -> Class {
    if c.is_ascii() {
        return if c.is_ascii_alphanumeric() { Class::Word } else { Class::Separator };
    }
    if matches!(c, '\u{3005}'..='\u{3007}' | '\u{30fc}') {
        return Class::Pairs; // signs of Japanese that belong to several scripts, such as the `ー` of Katakana
    }
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    let is_part = [GeneralCategoryGroup::Letter, GeneralCategoryGroup::Mark, GeneralCategoryGroup::Number];
    if !is_part.iter().any(|group| group.contains(category)) {
        return Class::Separator;
    }
    match CodePointMapData::<Script>::new().get(c) {
        Script::Han | Script::Hangul | Script::Hiragana | Script::Katakana | Script::Bopomofo => Class::Pairs,
        Script::Thai | Script::Lao | Script::Khmer | Script::Myanmar => Class::Pairs,
        // Marks and signs of several scripts are part of what they follow.
        Script::Common | Script::Inherited if before != Class::Separator => before,
        _ if GeneralCategoryGroup::Mark.contains(category) && before == Class::Separator => Class::Separator,
        _ => Class::Word,
    }
}

/// Whether a letter is written together with the one before it, so that the two are normalised together: marks, the parts
/// of Hangul syllables, and the voicing marks of half-width Katakana.
fn follows(c: char) -> bool {
    match c {
        '\0'..='\u{2ff}' => false,
        '\u{1160}'..='\u{11ff}' | '\u{314f}'..='\u{3163}' | '\u{ff9e}' | '\u{ff9f}' | '\u{ffc2}'..='\u{ffdc}' => true,
        _ => GeneralCategoryGroup::Mark.contains(CodePointMapData::<GeneralCategory>::new().get(c)),
    }
}

/// Whether a character is not seen and changes no letter, such as a soft hyphen or the sign that asks for an emoji.
fn is_ignored(c: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

fn is_syllable_or_common_ideograph(c: char) -> bool {
    matches!(c, '\u{ac00}'..='\u{d7a3}' | '\u{4e00}'..='\u{9fff}')
}

/// Calls a function for the letters of a text, as they are compared, until it returns false.
fn each_letter(text: &str, mut visit: impl FnMut(Letter) -> bool) {
    let mut chars = text.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        let mut end = start + c.len_utf8();
        while let Some((at, next)) = chars.next_if(|(_, next)| follows(*next)) {
            end = at + next.len_utf8();
        }
        let is_single = end == start + c.len_utf8();
        let goes_on = match is_single {
            true if c.is_ascii() => visit(Letter { c: c.to_ascii_lowercase(), at: start..end }),
            true if is_syllable_or_common_ideograph(c) => visit(Letter { c, at: start..end }),
            _ => {
                let compatible: String = text[start..end].nfkc().collect();
                let folded: String = CaseMapper::new().fold_string(&compatible).nfkc().collect();
                folded.chars().filter(|c| !is_ignored(*c)).all(|c| visit(Letter { c, at: start..end }))
            }
        };
        if !goes_on {
            return;
        }
    }
}

/// Calls a function for the runs of a text until it returns false.
fn each_run(text: &str, mut visit: impl FnMut(Run) -> bool) {
    let mut run = Run { class: Class::Separator, letters: vec![] };
    let mut goes_on = true;
    each_letter(text, |letter| {
        let class = class(letter.c, run.class);
        if class != run.class {
            let ended = std::mem::replace(&mut run, Run { class, letters: vec![] });
            goes_on = ended.class == Class::Separator || visit(ended);
        }
        if class != Class::Separator {
            run.letters.push(letter);
        }
        goes_on
    });
    if goes_on && run.class != Class::Separator {
        visit(run);
    }
}

fn has_run(text: &str) -> bool {
    let mut has = false;
    each_run(text, |_| {
        has = true;
        false
    });
    has
}

fn text_of(letters: &[Letter]) -> String {
    letters.iter().take(MAX_TERM).map(|letter| letter.c).collect()
}

impl Run {
    fn start(&self) -> usize {
        self.letters.first().map_or(0, |letter| letter.at.start)
    }

    /// The terms of this run, each as the letters that it is made of.
    fn terms(&self) -> impl Iterator<Item = &[Letter]> {
        let starts = match self.class {
            Class::Pairs => 0..self.letters.len(),
            Class::Word | Class::Separator => 0..1,
        };
        starts.map(|start| match self.class {
            Class::Pairs => &self.letters[start..(start + 2).min(self.letters.len())],
            Class::Word | Class::Separator => &self.letters[..],
        })
    }
}

/// The weight of a term in a search. It depends on the text that contains the term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weight {
    Low,
    Medium,
    High,
}

impl Weight {
    /// What a term with this weight adds to the score of a record.
    pub const fn score(self) -> i16 {
        match self {
            Self::Low => 1,
            Self::Medium => 2,
            Self::High => 4,
        }
    }
}

/// A term of a record, and its weight: the greatest weight of the texts that contain it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    pub text: String,
    pub weight: Weight,
}

/// The terms of a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// Each term once, those of the greatest weight first.
    pub terms: Vec<Term>,
    /// Whether the texts have more terms than were wanted.
    pub is_cut: bool,
}

/// The first terms of texts, of which each has a weight, and not more than `limit`. Texts of greater weight come first.
pub fn terms<'a>(texts: impl IntoIterator<Item = (Weight, &'a str)>, limit: usize) -> Terms {
    let mut texts: Vec<_> = texts.into_iter().collect();
    texts.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    let (mut known, mut found) = (HashMap::new(), Terms::default());
    for (weight, text) in texts {
        each_run(text, |run| {
            for letters in run.terms() {
                let Entry::Vacant(new) = known.entry(text_of(letters)) else { continue };
                if found.terms.len() == limit {
                    found.is_cut = true;
                    return false;
                }
                found.terms.push(Term { text: new.key().clone(), weight });
                new.insert(());
            }
            true
        });
    }
    found
}

/// A term that a record must have to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub text: String,
    /// Whether it is enough if a term of the record begins with this text.
    pub is_beginning: bool,
}

impl Wanted {
    /// Whether a term of these letters is what is wanted.
    fn is(&self, letters: &[Letter]) -> bool {
        let mut letters = letters.iter().take(MAX_TERM).map(|letter| letter.c);
        self.text.chars().all(|c| letters.next() == Some(c)) && (self.is_beginning || letters.next().is_none())
    }
}

/// The terms that a record must have because of this run of a search.
fn wanted(mut run: Run, is_last: bool) -> Vec<Wanted> {
    if run.class != Class::Pairs {
        return run.terms().map(|letters| Wanted { text: text_of(letters), is_beginning: is_last }).collect();
    }
    // A consonant that is typed after a syllable is the beginning of the next syllable.
    if is_last && run.letters.len() > 1 && run.letters.last().is_some_and(is_lone_part_of_syllable) {
        run.letters.pop();
    }
    let is_single = run.letters.len() == 1;
    let pairs = run.terms().filter(|letters| is_single || letters.len() == 2);
    pairs.map(|letters| Wanted { text: text_of(letters), is_beginning: is_single }).collect()
}

/// What a user searches for. A record must have all of these terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    pub terms: Vec<Wanted>,
}

/// Why a text can't be searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("must contain a letter or a digit")]
    NoWords,
    #[error("must have at most {MAX_WORDS} words")]
    TooManyWords,
}

/// A part of a text, and whether it is what was searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub text: String,
    pub is_hit: bool,
}

impl Wish {
    /// Reads what somebody typed. The last word may be the beginning of a word, because people search while they type. So
    /// may each single letter of those that are cut into pairs.
    pub fn parse(text: &str) -> Result<Self, Unusable> {
        let mut runs: Vec<Vec<Wanted>> = vec![];
        let mut last = None;
        each_run(text, |run| {
            if let Some(run) = last.replace(run) {
                runs.push(wanted(run, false));
            }
            runs.len() < MAX_WANTED
        });
        runs.push(wanted(last.ok_or(Unusable::NoWords)?, true));
        if text.split_whitespace().filter(|word| has_run(word)).count() > MAX_WORDS || runs.len() > MAX_WANTED {
            return Err(Unusable::TooManyWords);
        }
        let longest = runs.iter().map(Vec::len).max().unwrap_or_default();
        let in_turn = (0..longest).flat_map(|place| runs.iter().filter_map(move |run| run.get(place)));
        let mut terms: Vec<Wanted> = vec![];
        for new in in_turn {
            match terms.iter().position(|term| term.text == new.text) {
                Some(known) => terms[known].is_beginning &= new.is_beginning,
                None if terms.len() < MAX_WANTED => terms.push(new.clone()),
                None => {}
            }
        }
        Ok(Self { terms })
    }

    /// Where a text has what is searched for, in bytes, as far as a snippet reaches. The places don't overlap.
    fn hits(&self, text: &str) -> Vec<Range<usize>> {
        let mut hits: Vec<Range<usize>> = vec![];
        each_run(text, |run| {
            if hits.first().is_some_and(|hit| run.start() > hit.start + 4 * MAX_SNIPPET) {
                return false; // this is beyond any snippet
            }
            for letters in run.terms() {
                let Some(wanted) = self.terms.iter().find(|wanted| wanted.is(letters)) else { continue };
                let is_one_letter = run.class == Class::Pairs && wanted.text.chars().nth(1).is_none();
                let letters = if is_one_letter { &letters[..1] } else { letters };
                let (Some(first), Some(last)) = (letters.first(), letters.last()) else { continue };
                match hits.last_mut() {
                    Some(hit) if hit.end >= first.at.start => hit.end = hit.end.max(last.at.end),
                    _ => hits.push(first.at.start..last.at.end),
                }
            }
            true
        });
        hits
    }

    /// A piece of a text around the first hit, as one line, with the hits marked. `None` if the text has no hit.
    pub fn snippet(&self, text: &str) -> Option<Vec<Part>> {
        let hits = self.hits(text);
        let first = hits.first()?.start;
        let starts: Vec<_> = text.char_indices().map(|(start, _)| start).collect();
        let at = starts.partition_point(|start| *start < first);
        let from = if text[first..].chars().count() + BEFORE_HIT < MAX_SNIPPET {
            starts.len().saturating_sub(MAX_SNIPPET).min(at)
        } else {
            at.saturating_sub(BEFORE_HIT)
        };
        let start = starts.get(from).copied().unwrap_or_default();
        let end = starts.get(from + MAX_SNIPPET).copied().unwrap_or(text.len());
        let mut parts = vec![];
        let mut add = |piece: &str, is_hit| {
            let text: String = piece.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            if !text.is_empty() {
                parts.push(Part { text, is_hit });
            }
        };
        if start > 0 {
            add("…", false);
        }
        let mut done = start;
        for hit in hits.into_iter().take_while(|hit| hit.start < end) {
            add(&text[done..hit.start.max(done)], false);
            add(&text[hit.start.max(done)..hit.end.min(end)], true);
            done = hit.end.min(end);
        }
        add(&text[done..end], false);
        if end < text.len() {
            add("…", false);
        }
        Some(parts)
    }
}

fn is_lone_part_of_syllable(letter: &Letter) -> bool {
    matches!(letter.c, '\u{1100}'..='\u{11ff}')
}

#[cfg(test)]
mod tests;
