//! JSON text, byte by byte: whitespace, strings, numbers, and values that are only stepped over.

use super::error::RowErrorKind;

/// Deepest nesting inside of values that are kept as text or dropped.
pub(super) const DEPTH_MAX: usize = 64;

/// A place in a row that is known to be UTF-8.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

fn syntax<T>(expected: &'static str) -> Result<T, RowErrorKind> {
    Err(RowErrorKind::Syntax { expected })
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text, at: 0 }
    }

    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        // `at` only moves over bytes that were looked at.
        &self.text.as_bytes()[self.at..]
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn space(&mut self) -> &'a str {
        let start = self.at;
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    #[inline]
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let yes = self.peek() == Some(byte);
        self.at += usize::from(yes);
        yes
    }

    /// Steps over `literal` if it comes next.
    #[inline]
    pub(super) fn eat_all(&mut self, literal: &[u8]) -> bool {
        let yes = self.rest().starts_with(literal);
        if yes {
            self.at += literal.len();
        }
        yes
    }

    /// What is between the quotes, escapes as they stand, and whether there are any.
    #[inline]
    pub(super) fn string(&mut self) -> Result<(&'a str, bool), RowErrorKind> {
        if !self.eat(b'"') {
            return syntax("a string");
        }
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain_len(self.rest());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok((&self.text[start..self.at - 1], escaped));
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return syntax("control characters in strings to be escaped"),
                None => return syntax("the end of a string"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), RowErrorKind> {
        match self.rest().get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let Some(high) = hex4(self.rest().get(2..6)) else { return syntax("four hex digits after \\u") };
                self.at += 6;
                match high {
                    0xd800..=0xdbff => {
                        let low = if self.rest().starts_with(b"\\u") { hex4(self.rest().get(2..6)) } else { None };
                        if !matches!(low, Some(0xdc00..=0xdfff)) {
                            return syntax("the second half of a surrogate pair");
                        }
                        self.at += 6;
                    }
                    0xdc00..=0xdfff => return syntax("the first half of a surrogate pair"),
                    _ => {}
                }
            }
            _ => return syntax("one of \" \\ / b f n r t u after a backslash"),
        }
        Ok(())
    }

    /// A number by JSON's grammar.
    #[inline]
    pub(super) fn number(&mut self) -> Result<&'a str, RowErrorKind> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let digits = |mut at: usize| {
            while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                at += 1;
            }
            at
        };
        let mut at = start + usize::from(self.peek() == Some(b'-'));
        let whole = at;
        at = digits(at);
        if at == whole || (bytes[whole] == b'0' && at > whole + 1) {
            return syntax("a number without leading zeros");
        }
        if bytes.get(at) == Some(&b'.') {
            let fraction = at + 1;
            at = digits(fraction);
            if at == fraction {
                return syntax("digits after the decimal point");
            }
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            at += 1;
            if let Some(b'+' | b'-') = bytes.get(at) {
                at += 1;
            }
            let exponent = at;
            at = digits(at);
            if at == exponent {
                return syntax("digits of an exponent");
            }
        }
        self.at = at;
        Ok(&self.text[start..at])
    }

    /// Steps over any valid value; `depth` levels may still open. Its text is returned.
    pub(super) fn skip(&mut self, depth: usize) -> Result<&'a str, RowErrorKind> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => {
                self.string()?;
            }
            Some(b'-' | b'0'..=b'9') => {
                self.number()?;
            }
            Some(b't') if self.eat_all(b"true") => {}
            Some(b'f') if self.eat_all(b"false") => {}
            Some(b'n') if self.eat_all(b"null") => {}
            Some(open @ (b'{' | b'[')) => {
                if depth == 0 {
                    return Err(RowErrorKind::TooDeep { max: DEPTH_MAX });
                }
                self.at += 1;
                self.skip_members(open == b'{', depth - 1)?;
            }
            _ => return syntax("a value"),
        }
        Ok(&self.text[start..self.at])
    }

    fn skip_members(&mut self, object: bool, depth: usize) -> Result<(), RowErrorKind> {
        let close = if object { b'}' } else { b']' };
        self.space();
        if self.eat(close) {
            return Ok(());
        }
        loop {
            self.space();
            if object {
                self.string()?;
                self.space();
                if !self.eat(b':') {
                    return syntax("a colon after a key");
                }
                self.space();
            }
            self.skip(depth)?;
            self.space();
            if self.eat(close) {
                return Ok(());
            }
            if !self.eat(b',') {
                return syntax(if object { "a comma or } after a member" } else { "a comma or ] after an item" });
            }
        }
    }
}

fn hex4(digits: Option<&[u8]>) -> Option<u32> {
    digits?.iter().try_fold(0, |value, digit| Some(value << 4 | (*digit as char).to_digit(16)?))
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// How many bytes come before the first quote, backslash or control character: eight at a time.
#[inline]
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((chunk, behind)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let quote = word ^ (ONES * b'"' as u64);
        let slash = word ^ (ONES * b'\\' as u64);
        // The lowest marked byte is exact; only bytes above it may be marked falsely by a borrow.
        let found = ((quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash)
            | (word.wrapping_sub(ONES * 0x20) & !word))
            & HIGH;
        if found != 0 {
            return bytes.len() - rest.len() + (found.trailing_zeros() / 8) as usize;
        }
        rest = behind;
    }
    let tail = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
    bytes.len() - rest.len() + tail.unwrap_or(rest.len())
}

/// How many bytes come before the first quote, backslash, control character or byte above ASCII: more at a time of long strings.
#[inline]
pub(super) fn ascii_len(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((chunk, behind)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let no_quote = (word ^ (ONES * b'"' as u64)).wrapping_add(ONES * 0x7f);
        let no_slash = (word ^ (ONES * b'\\' as u64)).wrapping_add(ONES * 0x7f);
        let no_control = word.wrapping_add(ONES * 0x60);
        // The lowest marked byte is exact; only bytes above one that is no ASCII may be marked falsely by a carry.
        let found = (!(no_quote & no_slash & no_control) | word) & HIGH;
        if found != 0 {
            return bytes.len() - rest.len() + (found.trailing_zeros() / 8) as usize;
        }
        rest = behind;
        if bytes.len() - rest.len() == 32 {
            rest = behind_ascii(rest);
        }
    }
    let tail = rest.iter().position(|byte| is_special(*byte));
    bytes.len() - rest.len() + tail.unwrap_or(rest.len())
}

#[inline]
fn is_special(byte: u8) -> bool {
    // Above ASCII is below zero.
    ((byte as i8) < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// What is left behind whole chunks without special bytes. Without an early end all bytes of a chunk are compared at once.
fn behind_ascii(mut bytes: &[u8]) -> &[u8] {
    while let Some((chunk, behind)) = bytes.split_first_chunk::<32>()
        && !chunk.iter().fold(false, |found, byte| found | is_special(*byte))
    {
        bytes = behind;
    }
    bytes
}

/// The characters a checked string with escapes stands for, appended to `into`.
pub(super) fn unescape(raw: &str, into: &mut Vec<u8>) {
    let bytes = raw.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let plain = bytes[at..].iter().position(|byte| *byte == b'\\').unwrap_or(bytes.len() - at);
        into.extend_from_slice(&bytes[at..at + plain]);
        at += plain;
        let Some(escape) = bytes.get(at + 1) else { return };
        at += 2;
        let byte = match escape {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let mut code = hex4(bytes.get(at..at + 4)).unwrap_or(0xfffd);
                at += 4;
                if (0xd800..0xdc00).contains(&code) {
                    let low = hex4(bytes.get(at + 2..at + 6)).unwrap_or(0xdc00);
                    code = 0x10000 + ((code - 0xd800) << 10) + low.saturating_sub(0xdc00);
                    at += 6;
                }
                let symbol = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                into.extend_from_slice(symbol.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            other => *other,
        };
        into.push(byte);
    }
}
