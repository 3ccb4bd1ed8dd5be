//! `ssl.principal.mapping.rules`: from the subject of a certificate to a name (KIP-371). Pure.
//!
//! Rules are tried in order; the first that matches the whole subject gives the name. `DEFAULT` is the subject itself.
//! `RULE:pattern/replacement/` may end in `L` or `U` for lower or upper case; `\/` is a slash within a rule.
use std::fmt;

use regex::Regex;
use thiserror::Error;

/// Longest text of all rules.
const RULES_MAX: usize = 16 << 10;
/// Largest compiled pattern.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Why rules are refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MappingError {
    /// Not a rule.
    #[error("`{text}` is neither DEFAULT nor RULE:pattern/replacement/ with an optional L or U at the end")]
    Shape {
        /// What is left from there on.
        text: String,
    },
    /// The pattern is no regular expression. Look-around and back-references are not supported.
    #[error("the pattern `{pattern}` is no regular expression without look-around: {detail}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Too long.
    #[error("the rules are longer than {RULES_MAX} bytes")]
    TooLong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Kept,
    Lower,
    Upper,
}

#[derive(Debug, Clone)]
enum Rule {
    Default,
    Replace { pattern: Regex, replacement: Vec<Piece>, case: Case },
}

/// Of a replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Group(usize),
}

/// The rules of a listener.
#[derive(Debug, Clone)]
pub struct PrincipalMapping {
    text: String,
    rules: Vec<Rule>,
}

impl PartialEq for PrincipalMapping {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Default for PrincipalMapping {
    fn default() -> Self {
        PrincipalMapping { text: "DEFAULT".to_owned(), rules: vec![Rule::Default] }
    }
}

impl fmt::Display for PrincipalMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PrincipalMapping {
    /// Reads rules separated by commas or line ends.
    pub fn parse(text: &str) -> Result<PrincipalMapping, MappingError> {
        if text.len() > RULES_MAX {
            return Err(MappingError::TooLong);
        }
        let mut rules = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (rule, after) = rule(rest)?;
            rules.push(rule);
            let after = after.trim_start_matches([' ', '\t', '\r']);
            rest = match after.strip_prefix([',', '\n']) {
                Some(next) => next.trim_start(),
                None if after.is_empty() => after,
                None => return Err(shape(rest)),
            };
        }
        if rules.is_empty() {
            return Ok(PrincipalMapping::default());
        }
        Ok(PrincipalMapping { text: text.trim().to_owned(), rules })
    }

    /// The name of whoever has this subject; None = no rule is for it.
    #[must_use]
    pub fn name_of(&self, subject: &str) -> Option<String> {
        self.rules.iter().find_map(|rule| rule.apply(subject))
    }
}

impl Rule {
    fn apply(&self, subject: &str) -> Option<String> {
        let Rule::Replace { pattern, replacement, case } = self else { return Some(subject.to_owned()) };
        let groups = pattern.captures(subject)?;
        let mut name = String::new();
        for piece in replacement {
            match piece {
                Piece::Text(text) => name.push_str(text),
                Piece::Group(number) => name.push_str(groups.get(*number).map_or("", |group| group.as_str())),
            }
        }
        Some(match case {
            Case::Kept => name,
            Case::Lower => name.to_lowercase(),
            Case::Upper => name.to_uppercase(),
        })
    }
}

fn shape(text: &str) -> MappingError {
    MappingError::Shape { text: text.chars().take(200).collect() }
}

/// The first rule of `text` and what follows it.
fn rule(text: &str) -> Result<(Rule, &str), MappingError> {
    if let Some(after) = text.strip_prefix("DEFAULT") {
        return Ok((Rule::Default, after));
    }
    let body = text.strip_prefix("RULE:").ok_or_else(|| shape(text))?;
    let (pattern, after) = until_slash(body).ok_or_else(|| shape(text))?;
    let (replacement, after) = until_slash(after).ok_or_else(|| shape(text))?;
    let (case, after) = match after.as_bytes().first() {
        Some(b'L') => (Case::Lower, &after[1..]),
        Some(b'U') => (Case::Upper, &after[1..]),
        _ => (Case::Kept, after),
    };
    // The whole subject has to match, as with Java's Matcher.matches().
    let whole = format!("^(?:{})$", pattern.replace("\\/", "/"));
    let compiled = regex::RegexBuilder::new(&whole).size_limit(PATTERN_BYTES_MAX).build();
    let compiled =
        compiled.map_err(|error| MappingError::Pattern { pattern: pattern.to_owned(), detail: error.to_string() })?;
    let replacement = pieces(&replacement.replace("\\/", "/"), compiled.captures_len() - 1);
    Ok((Rule::Replace { pattern: compiled, replacement, case }, after))
}

/// Up to a slash that no backslash stands before, and what follows it.
fn until_slash(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'/' => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

/// `$1` is a group if there are so many, and text otherwise; `\x` is `x`.
fn pieces(replacement: &str, groups: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = replacement.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\\' => text.extend(rest.next()),
            '$' => {
                let mut number = None;
                // As many digits as still name a group, as in Java.
                while let Some(digit) = rest.peek().and_then(|next| next.to_digit(10)) {
                    let more = number.unwrap_or(0) * 10 + digit as usize;
                    if more > groups {
                        break;
                    }
                    number = Some(more);
                    rest.next();
                }
                match number {
                    Some(number) => {
                        pieces.push(Piece::Text(std::mem::take(&mut text)));
                        pieces.push(Piece::Group(number));
                    }
                    None => text.push('$'),
                }
            }
            other => text.push(other),
        }
    }
    pieces.push(Piece::Text(text));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules and subjects of KIP-371.
    #[test]
    fn rules_of_the_kip_map_its_subjects() {
        let rules = "RULE:^CN=(.*?),OU=ServiceUsers.*$/$1/, RULE:^CN=(.*?),OU=(.*?),O=(.*?),L=(.*?),ST=(.*?),C=(.*?)$/$1@$2/L, \
                     RULE:^.*[Cc][Nn]=([a-zA-Z0-9.]*).*$/$1/L, DEFAULT";
        let mapping = PrincipalMapping::parse(rules).unwrap();
        for (subject, name) in [
            ("CN=Duke,OU=ServiceUsers,O=Org,C=US", "Duke"),
            ("CN=Duke,OU=SME,O=mycp,L=Fulton,ST=MD,C=US", "duke@sme"),
            ("cn=JavaSoft,o=Sun", "javasoft"),
            ("O=Sun", "O=Sun"),
        ] {
            assert_eq!(mapping.name_of(subject).as_deref(), Some(name), "{subject}");
        }
        assert_eq!(PrincipalMapping::parse(&mapping.to_string()).unwrap(), mapping);
    }

    #[test]
    fn table_of_rules_and_names() {
        for (rules, subject, name) in [
            ("", "CN=a", Some("CN=a")),
            ("DEFAULT", "CN=a", Some("CN=a")),
            ("RULE:CN=(.*)/$1/", "CN=a", Some("a")),
            ("RULE:CN=(.*)/$1/U", "CN=a", Some("A")),
            ("RULE:CN=/x/", "CN=a", None),
            ("RULE:^CN=(.*)$/$2/", "CN=a", Some("$2")),
            ("RULE:^CN=(.*)$/$10/", "CN=a", Some("a0")),
            (r"RULE:CN=(.*)\/(.*)/$2\/$1/", "CN=a/b", Some("b/a")),
            ("RULE:CN=x/y/\nDEFAULT", "CN=a", Some("CN=a")),
            ("RULE:CN=(a),.*/$1/L,RULE:.*/other/", "O=q", Some("other")),
        ] {
            assert_eq!(
                PrincipalMapping::parse(rules).unwrap().name_of(subject).as_deref(),
                name,
                "{rules} on {subject}"
            );
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for rules in [
            "default",
            "RULE:",
            "RULE:a",
            "RULE:a/b",
            "RULE:a/b/LU",
            "RULE:a/b/X",
            "DEFAULT DEFAULT",
            "DEFAULT x",
            "RULE:(/b/",
            "RULE:(?=a)/b/",
        ] {
            assert!(PrincipalMapping::parse(rules).is_err(), "{rules}");
        }
        assert_eq!(PrincipalMapping::parse(&"x".repeat(RULES_MAX + 1)).err(), Some(MappingError::TooLong));
    }

    proptest::proptest! {
        /// Rules are the operator's, subjects a stranger's: neither may panic, and what was read is written the same.
        #[test]
        fn any_rules_and_subjects_are_taken_or_refused(
            rules in "(RULE:|DEFAULT|[a-z(.*)$1/\\\\,LU ]{1,8}){0,8}",
            subject in "\\PC{0,60}",
        ) {
            if let Ok(mapping) = PrincipalMapping::parse(&rules) {
                let name = mapping.name_of(&subject);
                let again = PrincipalMapping::parse(&mapping.to_string()).unwrap();
                proptest::prop_assert_eq!(again.name_of(&subject), name);
            }
        }
    }
}
