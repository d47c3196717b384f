//! The base64 text of a block in, its DER in the same memory out.
//!
//! Base64 is read as RFC 4648 section 4 has it: the standard alphabet, complete padding, no bits left over. White space
//! is passed over wherever it stands (RFC 7468 section 3, lax). A text that two readers could decode differently, or
//! that lost a piece, is none.

use std::cell::Cell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::Fault;
use super::label::Label;

/// Decoded in one go: so much is copied twice, and wiped.
const PIECE: usize = 1024;

/// True for what base64 is written with.
pub(super) fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// Decodes a text that begins at this line into its own beginning, and returns how long that is.
pub(super) fn decode(text: &mut [u8], line: usize) -> Result<usize, Fault> {
    let digits = compact(text, line)?;
    if digits == 0 {
        return Err(Fault::at(
            line,
            "there is nothing between the block's BEGIN and END; put the whole block there again",
        ));
    }
    let damaged = |_| {
        Fault::at(
            line,
            format_args!(
                "the block's base64 does not come out even ({digits} characters): some are missing or too many; put \
                 the whole block there again"
            ),
        )
    };
    let mut piece = Zeroizing::new([0; PIECE / 4 * 3]);
    let (mut read, mut written) = (0, 0);
    while read < digits {
        let end = digits.min(read + PIECE);
        let from = text.get(read..end).unwrap_or_default();
        let length = STANDARD
            .decode_slice(from, piece.as_mut_slice())
            .map_err(damaged)?;
        // What is decoded is shorter than what it was decoded from, so nothing unread is written over.
        if let (Some(to), Some(from)) =
            (text.get_mut(written..written + length), piece.get(..length))
        {
            to.copy_from_slice(from);
        }
        (read, written) = (end, written + length);
    }
    Ok(written)
}

/// Moves the base64 digits together, and returns how many they are.
fn compact(text: &mut [u8], mut line: usize) -> Result<usize, Fault> {
    let cells = Cell::from_mut(text).as_slice_of_cells();
    let mut free = cells.iter();
    let (mut digits, mut padding) = (0, 0);
    let mut last = 0;
    for cell in cells {
        let byte = cell.get();
        match byte {
            b'\n' if last == b'\r' => {}
            b'\n' | b'\r' => line += 1,
            b' ' | b'\t' | 0x0b | 0x0c => {}
            b'=' if padding == 2 => return Err(misplaced(line)),
            _ if !is_digit(byte) => return Err(no_digit(byte, line)),
            _ if padding > 0 && byte != b'=' => return Err(misplaced(line)),
            _ => {
                padding += usize::from(byte == b'=');
                digits += 1;
                free.next().iter().for_each(|cell| cell.set(byte));
            }
        }
        last = byte;
    }
    Ok(digits)
}

fn misplaced(line: usize) -> Fault {
    Fault::at(
        line,
        "base64 goes on after the `=` that ends it; put the whole block there again",
    )
}

fn no_digit(byte: u8, line: usize) -> Fault {
    let what = match byte {
        b'-' | b'_' => "a `-` or `_`, as URL-safe base64 has it; PEM is written with `+` and `/`",
        b'\\' => "a backslash in the block; write real line breaks in place of `\\n`",
        0 => "a NUL byte in the block; the file is damaged: put it there again",
        0x80.. => "a byte in the block that is not ASCII; put the whole block there again",
        _ => "a character in the block that is not base64; put the whole block there again",
    };
    Fault::at(line, what)
}

/// The tag of a DER value, where its content begins, and where that ends; `None` if it does not begin like one.
fn header(der: &[u8]) -> Option<(u8, usize, usize)> {
    let (tag, length, rest) = match der {
        [tag, length, rest @ ..] => (*tag, *length, rest),
        [] | [_] => return None,
    };
    if length < 0x80 {
        return Some((tag, 2, 2 + usize::from(length)));
    }
    let count = usize::from(length & 0x7f);
    let bytes = rest.get(..count).filter(|_| (1..=4).contains(&count))?;
    let length = bytes
        .iter()
        .fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
    // DER writes a length in as few bytes as it takes (X.690 section 10.1).
    let shortest = bytes.first() != Some(&0) && length >= 0x80;
    shortest.then_some((tag, 2 + count, 2 + count + length))
}

/// True if this is one whole DER sequence and nothing else. No text is: its length would have to fit.
pub(super) fn is_der(bytes: &[u8]) -> bool {
    header(bytes).is_some_and(|(tag, _, end)| tag == SEQUENCE && end == bytes.len())
}

const SEQUENCE: u8 = 0x30;

/// What a DER value is, by how it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A sequence in a sequence, as a certificate, a list and a request are.
    Signed,
    Pkcs8,
    Pkcs1,
    Sec1,
    Pkcs12,
    Pkcs7,
    Other,
}

pub(super) fn shape(der: &[u8]) -> Shape {
    let inside = header(der).and_then(|(_, start, _)| der.get(start..));
    match inside.unwrap_or_default() {
        [SEQUENCE, ..] => Shape::Signed,
        [2, 1, 3, SEQUENCE, ..] => Shape::Pkcs12,
        [2, 1, _, SEQUENCE, ..] => Shape::Pkcs8,
        [2, 1, _, 2, ..] => Shape::Pkcs1,
        [2, 1, _, 4, ..] => Shape::Sec1,
        [6, ..] => Shape::Pkcs7,
        _ => Shape::Other,
    }
}

/// Says what is wrong if a block is not one whole DER value, or not of the kind that its label says.
pub(super) fn check(der: &[u8], label: Label) -> Result<(), String> {
    let name = label.name();
    let Some((tag, _, end)) = header(der) else {
        return Err(format!(
            "the {name} that begins there does not hold DER; put the whole block there again"
        ));
    };
    let length = der.len();
    if length < end {
        return Err(format!(
            "the {name} that begins there is cut short: {length} of the {end} bytes that its DER says it has; put the \
             whole block there again"
        ));
    }
    if length > end {
        let more = length - end;
        return Err(format!(
            "the {name} that begins there has more after the end of its DER: {more} of {length} bytes; take them off, \
             or put the block there again"
        ));
    }
    let fits = match label {
        Label::Certificate | Label::List | Label::EncryptedKey => shape(der) == Shape::Signed,
        Label::Pkcs8 => shape(der) == Shape::Pkcs8,
        Label::Pkcs1 => shape(der) == Shape::Pkcs1,
        Label::Sec1 => shape(der) == Shape::Sec1,
        Label::Beside(_) | Label::None => return Ok(()),
    };
    if fits && tag == SEQUENCE {
        return Ok(());
    }
    Err(match shape(der) {
        Shape::Pkcs8 => wrong(name, "a private key in PKCS#8", "PRIVATE KEY"),
        Shape::Pkcs1 => wrong(name, "an RSA key in PKCS#1", "RSA PRIVATE KEY"),
        Shape::Sec1 => wrong(name, "an EC key in SEC1", "EC PRIVATE KEY"),
        Shape::Signed | Shape::Pkcs12 | Shape::Pkcs7 | Shape::Other => format!(
            "what the block that begins there holds is no {name}; put the whole block there again, with the label it \
             was made with"
        ),
    })
}

fn wrong(label: &str, holds: &str, right: &str) -> String {
    format!(
        "the block that begins there is labelled {label} and holds {holds}; label it {right} in BEGIN and END"
    )
}
