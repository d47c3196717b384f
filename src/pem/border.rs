//! One line in, the border of a PEM block or plain text out; or why it was meant as a border and is none.
//!
//! What hides a block from us and not from its writer must not pass for text. So whatever has a `-----BEGIN` in it must be
//! exactly one, and so must a BEGIN or END with a known label and something like dashes around them.

use super::label::Label;

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Border<'a> {
    /// The beginning of a block with this label.
    Begin(&'a str),
    /// Its end.
    End(&'a str),
    /// Not meant as a border.
    None,
    /// Meant as one; what is wrong with it and what to do.
    Broken(String),
}

const DASHES: &[u8] = b"-----";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What word processors, web pages and fonts make of a dash or a space, and what it was.
const ALTERED: [(&[u8], u8); 24] = [
    // Hyphens, figure dash, en dash, em dash, bar; minus sign; small and full-width forms; the soft hyphen.
    (b"\xe2\x80\x90", b'-'),
    (b"\xe2\x80\x91", b'-'),
    (b"\xe2\x80\x92", b'-'),
    (b"\xe2\x80\x93", b'-'),
    (b"\xe2\x80\x94", b'-'),
    (b"\xe2\x80\x95", b'-'),
    (b"\xe2\x88\x92", b'-'),
    (b"\xef\xb9\x98", b'-'),
    (b"\xef\xb9\xa3", b'-'),
    (b"\xef\xbc\x8d", b'-'),
    (b"\xc2\xad", b'-'),
    // En dash and em dash in Windows-1252.
    (b"\x96", b'-'),
    (b"\x97", b'-'),
    (b"&#45;", b'-'),
    (b"&#x2d;", b'-'),
    (b"&#x2D;", b'-'),
    (b"&#8211;", b'-'),
    (b"&#8212;", b'-'),
    (b"&hyphen;", b'-'),
    (b"&ndash;", b'-'),
    (b"&mdash;", b'-'),
    (b"&minus;", b'-'),
    // The space that does not break a line.
    (b"\xc2\xa0", b' '),
    (b"&nbsp;", b' '),
];

impl<'a> Border<'a> {
    pub(super) fn of(line: &'a [u8]) -> Self {
        let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        let line = line.trim_ascii_end();
        if let Some(name) = exact(line, "BEGIN") {
            return Self::Begin(name);
        }
        if let Some(name) = exact(line, "END") {
            return Self::End(name);
        }
        for (word, does) in [("BEGIN", "begin"), ("END", "end")] {
            if positions(line, word).next().is_none() {
                continue;
            }
            let plain = unaltered(line);
            if positions(&plain, word).any(|at| is_meant(&plain, word, at)) {
                let why = why(line, &plain, word);
                return Self::Broken(format!("meant to {does} a PEM block, but {why}"));
            }
        }
        Self::None
    }
}

/// The label of a border that is as RFC 7468 section 3 writes it.
fn exact<'a>(line: &'a [u8], word: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(DASHES)?.strip_prefix(word.as_bytes())?;
    let name = rest.strip_prefix(b" ")?.strip_suffix(DASHES)?;
    let name = std::str::from_utf8(name).ok()?;
    let may_be = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || " .#/".contains(c);
    let is_name = !name.is_empty() && name.len() <= 40 && name.trim() == name;
    (is_name && name.chars().all(may_be)).then_some(name)
}

/// Where a word stands in a line, in capitals or not.
fn positions(line: &[u8], word: &str) -> impl Iterator<Item = usize> {
    let parts = line.windows(word.len()).enumerate();
    let is_word = move |part: &[u8]| part.eq_ignore_ascii_case(word.as_bytes());
    parts
        .filter(move |(_, part)| is_word(part))
        .map(|(at, _)| at)
}

/// The line as it was before its dashes and spaces were altered.
fn unaltered(line: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(line.len());
    let mut rest = line;
    while let [byte, after @ ..] = rest {
        let altered = ALTERED
            .iter()
            .find_map(|(form, was)| Some((rest.strip_prefix(*form)?, *was)));
        let (after, byte) = altered.unwrap_or((after, *byte));
        plain.push(byte);
        rest = after;
    }
    plain
}

fn is_meant(line: &[u8], word: &str, at: usize) -> bool {
    let (before, rest) = line.split_at_checked(at).unwrap_or_default();
    let (found, after) = rest.split_at_checked(word.len()).unwrap_or_default();
    let ends_a_word = |byte: &u8| !byte.is_ascii_alphanumeric();
    if found == word.as_bytes()
        && before.ends_with(DASHES)
        && (word == "BEGIN" || after.first().is_none_or(ends_a_word))
    {
        return true;
    }
    let dashes = |byte: &&u8| byte.is_ascii_whitespace() || **byte == b'-';
    let ahead = before
        .iter()
        .rev()
        .take_while(dashes)
        .filter(|byte| **byte == b'-')
        .count();
    let after = after.trim_ascii_start();
    Label::names().any(|name| {
        let (label, after) = after.split_at_checked(name.len()).unwrap_or_default();
        let behind = after
            .iter()
            .take_while(dashes)
            .filter(|byte| **byte == b'-')
            .count();
        let ends = after.trim_ascii().is_empty();
        label.eq_ignore_ascii_case(name.as_bytes())
            && (behind >= 2 || (ahead >= 1 && behind >= 1) || (ahead >= 2 && ends))
    })
}

/// The likeliest reason. Nothing of the line is in it, which may be a key.
fn why(line: &[u8], plain: &[u8], word: &str) -> String {
    let has = |text: &[u8], part: &[u8]| text.windows(part.len()).any(|window| window == part);
    let (begins, ends) = (has(line, b"-----BEGIN "), has(line, b"-----END "));
    let text = line.trim_ascii();
    let is_dash = |byte: &&u8| **byte == b'-';
    let ahead = text.iter().take_while(is_dash).count();
    let behind = text.iter().rev().take_while(is_dash).count();
    let first = |byte: &u8| *byte != b'-' && !byte.is_ascii_whitespace();
    let at_start = positions(text, word).next() == text.iter().position(first);
    if has(line, b"\\n") {
        "its line breaks are written as `\\n`; write real ones".to_owned()
    } else if begins && ends && text.starts_with(b"-----END ") {
        "it stands behind the end of the block before it; join files with a newline between them"
            .to_owned()
    } else if begins && ends {
        "the whole block stands on one line: its line breaks were lost, as by a shell variable without quotes; write \
         them again"
            .to_owned()
    } else if exact(text, word).is_some() {
        "YAML or an editor indented it; take away the spaces before it".to_owned()
    } else if line != plain {
        "its dashes or spaces are not those of ASCII, as a word processor or a web page makes them; copy the file itself"
            .to_owned()
    } else if !at_start {
        "something stands before it on the line; let it stand alone, and delete what is commented out or quoted".to_owned()
    } else if ahead != 5 {
        format!("five dashes must stand before {word}, and there are {ahead}")
    } else if behind == 0 {
        "something follows it on the line, or the dashes at its end are missing; let it stand alone"
            .to_owned()
    } else if behind != 5 {
        format!("five dashes must end it, and there are {behind}")
    } else {
        format!(
            "it is not `-----{word} LABEL-----`; write it so, in capitals and with single spaces"
        )
    }
}
