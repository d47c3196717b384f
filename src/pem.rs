//! PEM text in, DER out (RFC 7468): every block of the file, or the line that is wrong and what to do.
//!
//! A file is read whole or not at all. A line that looks like the border of a block and is none (indented, joined to
//! another, a dash too few, a label that nobody knows) would hide a block from us that its writer sees, and a CA or a
//! revocation with it: so it makes the file bad. What is plainly no border is text, and means nothing.
//!
//! Decodes in the memory of the text, which the blocks then share: a list of 64 MiB costs no second time that, and a key
//! leaves no copy. Does no IO and does not look into certificates. No message shows a byte of a block.

mod body;
mod border;
mod foreign;
mod label;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use self::border::Border;
use self::label::Label;

/// A file's blocks, in the memory that held its text; wiped once none of them is there any more.
pub struct Pem {
    bytes: Arc<Zeroizing<Vec<u8>>>,
    blocks: Vec<Found>,
    /// What kind of text it was, if it had no block.
    text: Option<&'static str>,
}

struct Found {
    label: Label,
    line: usize,
    place: Range<usize>,
}

/// What one block holds.
#[derive(Debug, Clone)]
pub struct Block {
    /// The line of its BEGIN, counted from one.
    pub line: usize,
    /// One whole DER value.
    pub der: Der,
}

impl Block {
    /// A certificate of its own.
    pub fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from(self.der.to_vec())
    }
}

/// One whole DER value, in the memory of the file that it was read from.
#[derive(Clone)]
pub struct Der {
    bytes: Arc<Zeroizing<Vec<u8>>>,
    place: Range<usize>,
}

impl Deref for Der {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(self.place.clone()).unwrap_or_default()
    }
}

impl From<Vec<u8>> for Der {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            place: 0..bytes.len(),
            bytes: Arc::new(Zeroizing::new(bytes)),
        }
    }
}

impl fmt::Debug for Der {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bytes may be a private key.
        write!(f, "Der({} bytes)", self.len())
    }
}

/// What is wrong with a file and what to do; the line comes first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(String);

impl Fault {
    fn at(line: usize, what: impl fmt::Display) -> Self {
        Self(format!("line {line}: {what}"))
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bytes may be a private key.
        let labels = self.blocks.iter().map(|block| block.label.name());
        f.debug_list().entries(labels).finish()
    }
}

impl Pem {
    /// Decodes every block. A file that is one DER value and no text is one block without a label.
    ///
    /// # Errors
    /// The first thing that is wrong with the file.
    pub fn decode(mut bytes: Zeroizing<Vec<u8>>) -> Result<Self, Fault> {
        let mut blocks = if body::is_der(&bytes) {
            vec![Found {
                label: Label::None,
                line: 1,
                place: 0..bytes.len(),
            }]
        } else {
            match (scan(&bytes), foreign::kind(&bytes)) {
                (Ok(blocks), _) if !blocks.is_empty() => blocks,
                (_, Some(what)) => return Err(Fault(what.to_owned())),
                (blocks, None) => blocks?,
            }
        };
        let text = blocks.is_empty().then(|| foreign::text(&bytes)).flatten();
        let mut end = 0;
        for block in blocks.iter_mut().filter(|block| block.label != Label::None) {
            let text = bytes.get_mut(block.place.clone()).unwrap_or_default();
            let length = body::decode(text, block.line + 1)?;
            let der = text.get(..length).unwrap_or_default();
            body::check(der, block.label).map_err(|what| Fault::at(block.line, what))?;
            let start = block.place.start;
            bytes.copy_within(start..start + length, end);
            block.place = end..end + length;
            end += length;
        }
        // Whoever keeps a long list keeps no more than that. A key would leave a copy behind.
        if !blocks.is_empty() && !blocks.iter().any(|block| block.label.is_secret()) {
            bytes.truncate(blocks.last().map_or(0, |block| block.place.end));
            bytes.shrink_to_fit();
        }
        Ok(Self {
            bytes: Arc::new(bytes),
            blocks,
            text,
        })
    }

    /// The certificates in their order; never none. Keys, parameters and requests beside them are passed over.
    ///
    /// # Errors
    /// If there is none, in which case `meaning` says what there should be; or if a revocation list is among them.
    pub fn certificates(&self, meaning: &str) -> Result<Vec<Block>, Fault> {
        self.no_list()?;
        self.wanted(Label::Certificate, meaning)
    }

    /// As [`Pem::certificates`], but with no objection to revocation lists: the line of the first one comes along, to be
    /// told to whoever believes that it counts.
    ///
    /// # Errors
    /// If there is no certificate.
    pub fn certificates_beside_lists(
        &self,
        meaning: &str,
    ) -> Result<(Vec<Block>, Option<usize>), Fault> {
        let list = self.first(Label::List).map(|list| list.line);
        Ok((self.wanted(Label::Certificate, meaning)?, list))
    }

    /// The revocation lists in their order; never none. Other blocks are passed over.
    ///
    /// # Errors
    /// If there is none, in which case `meaning` says what there should be.
    pub fn lists(&self, meaning: &str) -> Result<Vec<Block>, Fault> {
        self.wanted(Label::List, meaning)
    }

    /// The private key. Certificates and parameters beside it are passed over.
    ///
    /// # Errors
    /// If there is none, more than one, or one that is encrypted; `meaning` says what there should be.
    pub fn private_key(&self, meaning: &str) -> Result<PrivateKeyDer<'_>, Fault> {
        self.no_list()?;
        if let Some(block) = self.first(Label::EncryptedKey) {
            return Err(Fault::at(block.line, label::ENCRYPTED));
        }
        let keys = self.blocks.iter();
        let mut keys = keys.filter_map(|block| {
            let der = self.bytes.get(block.place.clone())?;
            Some((block.label.private_key(der)?, block.line))
        });
        match (keys.next(), keys.next()) {
            (Some((key, _)), None) => Ok(key),
            (Some((_, first)), Some((_, second))) => Err(Fault::at(
                second,
                format_args!(
                    "a second private key; the first is at line {first}: leave the one that is meant"
                ),
            )),
            (None, _) => Err(self.none("PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY", meaning)),
        }
    }

    fn wanted(&self, wanted: Label, meaning: &str) -> Result<Vec<Block>, Fault> {
        let is_wanted =
            |label: Label| label == wanted || (label == Label::None && wanted == Label::List);
        let blocks = self.blocks.iter().filter(|block| is_wanted(block.label));
        let blocks: Vec<_> = blocks.map(|block| self.block(block)).collect();
        if blocks.is_empty() {
            return Err(self.none(wanted.name(), meaning));
        }
        Ok(blocks)
    }

    fn block(&self, found: &Found) -> Block {
        Block {
            line: found.line,
            der: Der {
                bytes: Arc::clone(&self.bytes),
                place: found.place.clone(),
            },
        }
    }

    fn first(&self, label: Label) -> Option<&Found> {
        self.blocks.iter().find(|block| block.label == label)
    }

    /// Of all blocks that a file may have beside what is wanted, a list alone is missed: nobody would be revoked.
    fn no_list(&self) -> Result<(), Fault> {
        match self.first(Label::List) {
            Some(list) => Err(Fault::at(
                list.line,
                "a revocation list (X509 CRL), which counts for nothing in this file; put it into a file of its own, \
                 for --client-crl",
            )),
            None => Ok(()),
        }
    }

    /// Why there is nothing of what is wanted.
    fn none(&self, wanted: &str, meaning: &str) -> Fault {
        let there = match self.blocks.first() {
            None => {
                let text = self.text.map_or(String::new(), |text| format!(": {text}"));
                format!("no PEM block {wanted} in it{text}")
            }
            Some(block) if block.label == Label::None => foreign::der(&self.bytes).to_owned(),
            Some(Found { label, line, .. }) => {
                let label = label.name();
                format!("no PEM block {wanted} in it, but {label} at line {line}")
            }
        };
        Fault(format!("{there}; it must hold {meaning}"))
    }
}

/// Finds the blocks, each with the place of its text.
fn scan(text: &[u8]) -> Result<Vec<Found>, Fault> {
    let mut blocks = Vec::new();
    let mut open: Option<Found> = None;
    let mut lines = Lines::of(text);
    while let Some(Line {
        number,
        start,
        bytes,
    }) = lines.next()
    {
        if open.is_some() && bytes.iter().all(|byte| body::is_digit(*byte)) {
            continue;
        }
        match (Border::of(bytes), &mut open) {
            (Border::Begin(name), None) => {
                open = Some(Found {
                    label: Label::named(name).map_err(|what| Fault::at(number, what))?,
                    line: number,
                    place: lines.start()..lines.start(),
                });
            }
            (Border::Begin(_), Some(block)) => return Err(unended(block, number)),
            (Border::End(name), Some(block)) if name == block.label.name() => {
                block.place.end = start;
                blocks.extend(open.take());
            }
            (Border::End(name), Some(block)) => {
                return Err(Fault::at(
                    number,
                    format_args!(
                        "the end of {name:?}, in the {} that begins at line {}; put the whole block there again",
                        block.label.name(),
                        block.line
                    ),
                ));
            }
            (Border::End(_), None) => {
                return Err(Fault::at(
                    number,
                    "the end of a block whose beginning is not there, or is no `-----BEGIN …-----` line; put the whole \
                 block there again",
                ));
            }
            (Border::Broken(why), _) => return Err(Fault::at(number, why)),
            (Border::None, Some(block)) => {
                if let Some(what) = label::header(bytes, block.label) {
                    return Err(Fault::at(number, what));
                }
            }
            (Border::None, None) => {
                if let Some(what) = foreign::stray(bytes, lines.is_over()) {
                    return Err(Fault::at(number, what));
                }
            }
        }
    }
    match open {
        Some(block) => Err(unended(&block, lines.number)),
        None => Ok(blocks),
    }
}

fn unended(block: &Found, line: usize) -> Fault {
    Fault::at(
        block.line,
        format_args!(
            "the {} that begins there has no end by line {line}: it is cut short; put the whole block there again, its \
         `-----END {}-----` line included",
            block.label.name(),
            block.label.name()
        ),
    )
}

/// Lines end with CR, LF or both.
struct Lines<'a> {
    text: &'a [u8],
    rest: &'a [u8],
    number: usize,
}

struct Line<'a> {
    /// Counted from one.
    number: usize,
    /// Where it begins in the text.
    start: usize,
    bytes: &'a [u8],
}

impl<'a> Lines<'a> {
    fn of(text: &'a [u8]) -> Self {
        Self {
            text,
            rest: text,
            number: 0,
        }
    }

    /// Where the next line begins in the text.
    fn start(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    /// True if no line break followed the last line.
    fn is_over(&self) -> bool {
        self.rest.is_empty() && !matches!(self.text.last(), Some(b'\n' | b'\r'))
    }

    fn next(&mut self) -> Option<Line<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let start = self.start();
        let ends = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let length = self.rest.iter().position(ends).unwrap_or(self.rest.len());
        let (bytes, after) = self.rest.split_at(length);
        self.rest = match after {
            [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
            [] => after,
        };
        self.number += 1;
        Some(Line {
            number: self.number,
            start,
            bytes,
        })
    }
}
