//! Words, numbers, strings and signs of a DDL text.

use super::parser::{DdlError, DdlErrorKind};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A bare word: key word or name.
    Word(String),
    /// A quoted name.
    Quoted(String),
    /// A 'string'.
    Text(String),
    /// A number as it stands, sign included.
    Number(String),
    /// One of `, ( ) < > :`.
    Sign(char),
    /// Behind the last token.
    End,
}

/// One token and the byte where it begins.
pub(super) type Spanned = (Token, usize);

pub(super) fn tokens(text: &str) -> Result<Vec<Spanned>, DdlError> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let start = at;
        let token = match first {
            _ if first.is_whitespace() => {
                at += first.len_utf8();
                continue;
            }
            '-' if text[at..].starts_with("--") => {
                at = text[at..].find('\n').map_or(text.len(), |end| at + end);
                continue;
            }
            '/' if text[at..].starts_with("/*") => {
                let end = text[at + 2..].find("*/").ok_or(DdlError::at(at, DdlErrorKind::OpenComment))?;
                at += end + 4;
                continue;
            }
            ',' | '(' | ')' | '<' | '>' | ':' => {
                at += 1;
                Token::Sign(first)
            }
            '"' | '`' => Token::Quoted(quoted(text, &mut at, first)?),
            '\'' => Token::Text(quoted(text, &mut at, first)?),
            '0'..='9' | '-' | '+' | '.' => {
                at += 1;
                // A sign belongs to the number only behind its exponent: what follows may be a comment.
                while let Some(each) = text[at..].chars().next() {
                    let exponent = matches!(text.as_bytes()[at - 1], b'e' | b'E') && matches!(each, '+' | '-');
                    if !(each.is_ascii_alphanumeric() || each == '.' || exponent) {
                        break;
                    }
                    at += 1;
                }
                Token::Number(text[start..at].to_string())
            }
            _ if first.is_alphabetic() || first == '_' => {
                let word = |each: char| each.is_alphanumeric() || matches!(each, '_' | '$');
                at += text[at..].find(|each| !word(each)).unwrap_or(text.len() - at);
                Token::Word(text[start..at].to_string())
            }
            other => return Err(DdlError::at(at, DdlErrorKind::Character { found: other })),
        };
        found.push((token, start));
    }
    found.push((Token::End, text.len()));
    Ok(found)
}

/// Text up to the closing `quote`; a doubled quote stands for one.
fn quoted(text: &str, at: &mut usize, quote: char) -> Result<String, DdlError> {
    let start = *at;
    let mut content = String::new();
    let mut chars = text[start + 1..].char_indices().peekable();
    while let Some((index, each)) = chars.next() {
        if each != quote {
            content.push(each);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            chars.next();
            content.push(quote);
        } else {
            *at = start + 1 + index + 1;
            return Ok(content);
        }
    }
    Err(DdlError::at(start, DdlErrorKind::OpenQuote { quote }))
}
