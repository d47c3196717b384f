//! DER as X.690 section 10 has it: one element after the other, borrowed, nothing copied.
//!
//! Its own file because certificates and revocation lists are skimmed before anybody vouches for them: what is not
//! the one encoding that DER allows is refused, so that no two readers can see different things in it.

/// Tags of X.690 section 8.
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

/// The tag of a context-specific element that holds others.
pub(super) const fn holding(number: u8) -> u8 {
    0xa0 | number
}

/// The tag of a context-specific element that holds a value.
pub(super) const fn bare(number: u8) -> u8 {
    0x80 | number
}

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    /// Tag, length and content.
    pub(super) whole: &'a [u8],
    pub(super) content: &'a [u8],
}

/// What is left to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element, whatever it is. Tags of more than one byte occur nowhere here.
    pub(super) fn any(&mut self) -> Option<Element<'a>> {
        let (&tag, after_tag) = self.0.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, after_first) = after_tag.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), after_first),
            0x81..=0x84 => {
                let (digits, rest) = after_first.split_at_checked(usize::from(first & 0x7f))?;
                let length = digits
                    .iter()
                    .fold(0, |length, digit| length << 8 | usize::from(*digit));
                let shortest = *digits.first()? != 0 && length > 0x7f;
                (shortest.then_some(length)?, rest)
            }
            _ => return None,
        };
        let (content, after) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - after.len())?;
        self.0 = after;
        Some(Element {
            tag,
            whole,
            content,
        })
    }

    /// The next element if it has this tag; nothing is read otherwise.
    pub(super) fn optional(&mut self, tag: u8) -> Option<Element<'a>> {
        (*self.0.first()? == tag).then(|| self.any()).flatten()
    }

    /// The next element, which must have this tag.
    pub(super) fn take(&mut self, tag: u8) -> Option<Element<'a>> {
        self.any().filter(|element| element.tag == tag)
    }

    /// What is inside the next element, which must have this tag.
    pub(super) fn enter(&mut self, tag: u8) -> Option<Self> {
        self.take(tag).map(|element| Self(element.content))
    }

    /// The content of an INTEGER in its shortest form (X.690 section 8.3.2).
    pub(super) fn integer(&mut self) -> Option<&'a [u8]> {
        let content = self.take(INTEGER)?.content;
        match content {
            [] | [0x00, 0x00..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => None,
            _ => Some(content),
        }
    }

    /// The bytes of a BIT STRING whose last byte is used whole.
    pub(super) fn whole_bits(&mut self) -> Option<&'a [u8]> {
        match self.take(BIT_STRING)?.content.split_first()? {
            (0, bits) => Some(bits),
            _ => None,
        }
    }

    /// Nothing may follow.
    pub(super) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// The only element of these bytes.
pub(super) fn only(bytes: &[u8], tag: u8) -> Option<Reader<'_>> {
    let mut outer = Reader::new(bytes);
    let inner = outer.enter(tag)?;
    outer.end()?;
    Some(inner)
}

/// A BIT STRING of flags as RFC 5280 has them (key usage, reasons): bit 0 is the first. DER drops zero bits at the end.
pub(super) fn flags(content: &[u8]) -> Option<u16> {
    let (&unused, bits) = content.split_first()?;
    let mut all = 0;
    for (byte, shift) in bits.iter().take(2).zip([8, 0]) {
        all |= u16::from(*byte) << shift;
    }
    let in_range = unused < 8 && (unused == 0 || !bits.is_empty());
    in_range.then(|| all.reverse_bits())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_shortest_form_is_read() {
        let cases: [(&[u8], bool); 12] = [
            (&[0x04, 0x01, 0xaa], true),
            (&[0x04, 0x00], true),
            (&[0x04, 0x81, 0x01, 0xaa], false),
            (&[0x04, 0x82, 0x00, 0x80], false),
            (&[0x04, 0x80, 0x00, 0x00], false),
            (&[0x04, 0xff], false),
            (&[0x04, 0x85, 1, 0, 0, 0, 0], false),
            (&[0x04, 0x02, 0xaa], false),
            (&[0x1f, 0x01, 0xaa], false),
            (&[0x04], false),
            (&[], false),
            (&[0x04, 0x84, 0xff, 0xff, 0xff, 0xff], false),
        ];
        for (bytes, good) in cases {
            assert_eq!(Reader::new(bytes).any().is_some(), good, "{bytes:02x?}");
        }
        let long = [&[0x04, 0x81, 0x80][..], &[7; 128]].concat();
        assert_eq!(Reader::new(&long).any().unwrap().content.len(), 128);
    }

    #[test]
    fn an_integer_has_no_superfluous_byte() {
        let cases: [(&[u8], bool); 9] = [
            (&[2, 1, 0], true),
            (&[2, 1, 0x80], true),
            (&[2, 2, 0, 0x80], true),
            (&[2, 2, 0xff, 0x7f], true),
            (&[2, 0], false),
            (&[2, 2, 0, 0x7f], false),
            (&[2, 2, 0, 0], false),
            (&[2, 2, 0xff, 0x80], false),
            (&[3, 1, 0], false),
        ];
        for (bytes, good) in cases {
            assert_eq!(Reader::new(bytes).integer().is_some(), good, "{bytes:02x?}");
        }
    }

    #[test]
    fn flags_count_from_the_first_bit() {
        // keyCertSign and cRLSign, as every CA has them.
        assert_eq!(flags(&[1, 0b0000_0110]), Some(1 << 5 | 1 << 6));
        assert_eq!(flags(&[7, 0b1000_0000]), Some(1));
        assert_eq!(flags(&[7, 0, 0b1000_0000]), Some(1 << 8));
        assert_eq!(flags(&[0]), Some(0));
        assert_eq!(flags(&[]), None);
        assert_eq!(flags(&[8, 1]), None);
        assert_eq!(flags(&[1]), None);
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_was_there(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = Reader::new(&bytes);
            let mut read = Vec::new();
            while let Some(element) = reader.any() {
                prop_assert!(element.whole.ends_with(element.content));
                read.extend_from_slice(element.whole);
            }
            read.extend_from_slice(reader.0);
            prop_assert_eq!(read, bytes);
        }
    }
}
