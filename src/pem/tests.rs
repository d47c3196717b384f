//! Files that read rightly, files that nearly do, and files that were damaged: the blocks, or the line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

mod nearly;

/// A DER sequence with a sequence in it, as certificates and lists are; `fill` makes it its own.
fn signed(length: usize, fill: u8) -> Vec<u8> {
    let inside = tlv(0x30, &vec![fill; length]);
    tlv(0x30, &inside)
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut der = vec![tag];
    match u8::try_from(length) {
        Ok(short @ ..0x80) => der.push(short),
        Ok(long) => der.extend([0x81, long]),
        Err(_) => der.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    der.extend(content);
    der
}

fn base64(der: &[u8]) -> Vec<String> {
    let text = STANDARD.encode(der);
    let lines = text.as_bytes().chunks(64);
    lines
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect()
}

fn block(label: &str, der: &[u8]) -> String {
    let body = base64(der).join("\n");
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn cert(fill: u8) -> String {
    block("CERTIFICATE", &signed(148, fill))
}

fn pkcs8() -> Vec<u8> {
    tlv(0x30, &[&[2, 1, 0][..], &signed(60, 9)].concat())
}

fn sec1() -> Vec<u8> {
    tlv(0x30, &[&[2, 1, 1][..], &tlv(4, &[9; 60])].concat())
}

fn pkcs1() -> Vec<u8> {
    tlv(0x30, &[&[2, 1, 0][..], &tlv(2, &[9; 60])].concat())
}

fn decode(text: impl AsRef<[u8]>) -> Result<Pem, Fault> {
    Pem::decode(Zeroizing::new(text.as_ref().to_vec()))
}

/// The labels, lines and DER of all blocks.
fn blocks(text: impl AsRef<[u8]>) -> Result<Vec<(String, usize, Vec<u8>)>, Fault> {
    let pem = decode(text)?;
    let all = pem.blocks.iter().map(|block| {
        let Block { line, der } = pem.block(block);
        (block.label.name().to_owned(), line, der.to_vec())
    });
    Ok(all.collect())
}

fn certificates(text: impl AsRef<[u8]>) -> Result<Vec<(usize, Vec<u8>)>, String> {
    let pem = decode(text).map_err(|fault| fault.to_string())?;
    let found = pem
        .certificates("what it should")
        .map_err(|fault| fault.to_string())?;
    Ok(found
        .iter()
        .map(|block| (block.line, block.der.to_vec()))
        .collect())
}

#[test]
fn what_reads_rightly_reads_the_same_in_every_form() {
    let (one, two) = (signed(148, 1), signed(300, 2));
    let text = block("CERTIFICATE", &one) + &block("CERTIFICATE", &two);
    let one_line = |der: &[u8]| {
        format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            STANDARD.encode(der)
        )
    };
    let attributes = "Bag Attributes\n    friendlyName: a\n    localKeyID: 01 02\nsubject=CN = x\n\nissuer=CN = y\n";
    let latin1 = [
        &b"# K\xf6ln \x96 end of 1\xb0\r\n"[..],
        text.as_bytes(),
        b"\xe4",
    ]
    .concat();
    let spaced = text.replace('\n', " \t \n").replace("BEGIN \t", "BEGIN");
    let forms: Vec<(&str, Vec<u8>)> = vec![
        ("LF", text.clone().into()),
        ("CRLF", text.replace('\n', "\r\n").into()),
        ("CR", text.replace('\n', "\r").into()),
        ("no final newline", text.trim_end().into()),
        ("a byte order mark", format!("\u{feff}{text}").into()),
        (
            "two of them",
            text.replace("-----BEGIN", "\u{feff}-----BEGIN").into(),
        ),
        ("one line each", (one_line(&one) + &one_line(&two)).into()),
        (
            "bag attributes",
            format!("{attributes}{text}{attributes}").into(),
        ),
        ("Latin-1 around", latin1),
        ("white space at the ends of lines", spaced.into()),
        (
            "white space within",
            text.replace("AQEB", "A\t QE\x0cB").into(),
        ),
        ("empty lines", text.replace('\n', "\n\n").into()),
        (
            "prose",
            format!("--- begin of the bundle - the end ---\n-----\n{text}\nEND\n").into(),
        ),
        ("Windows' last byte", format!("{text}\x1a").into()),
    ];
    for (form, text) in forms {
        let found = certificates(&text).unwrap_or_else(|fault| panic!("{form}: {fault}"));
        let ders: Vec<_> = found.into_iter().map(|(_, der)| der).collect();
        assert_eq!(ders, [one.clone(), two.clone()], "{form}");
    }
}

#[test]
fn each_block_is_told_with_the_line_it_begins_at() {
    for newline in ["\n", "\r\n", "\r"] {
        let text = format!("a\n\n{}b\n{}", cert(1), cert(2)).replace('\n', newline);
        let lines: Vec<_> = certificates(text)
            .unwrap()
            .into_iter()
            .map(|(line, _)| line)
            .collect();
        assert_eq!(lines, [3, 10], "{newline:?}");
    }
}

#[test]
fn what_stands_beside_is_passed_over_and_what_would_be_missed_is_not() {
    let key = block("EC PRIVATE KEY", &sec1());
    let beside = [
        block("EC PARAMETERS", &[6, 1, 42]),
        block("DH PARAMETERS", &signed(9, 0)),
        block("CERTIFICATE REQUEST", &signed(9, 0)),
        block("PUBLIC KEY", &signed(9, 0)),
    ]
    .concat();
    let list = block("X509 CRL", &signed(200, 3));
    let all = [&*beside, &*key, &*cert(1), &*cert(2)].concat();
    assert_eq!(certificates(&all).unwrap().len(), 2);
    let pem = decode(&all).unwrap();
    assert_eq!(pem.private_key("").unwrap().secret_der(), sec1());
    let encrypted = block("ENCRYPTED PRIVATE KEY", &signed(50, 1));
    assert_eq!(certificates(encrypted.clone() + &cert(1)).unwrap().len(), 1);
    let pem = decode(encrypted).unwrap();
    let said = pem.private_key("").unwrap_err().to_string();
    assert!(said.starts_with("line 1: the key is encrypted"), "{said}");

    let with_list = all.clone() + &list;
    let said = certificates(&with_list).unwrap_err();
    assert!(
        said.contains("a revocation list") && said.contains("--client-crl"),
        "{said}"
    );
    let pem = decode(&with_list).unwrap();
    assert!(pem.private_key("").is_err());
    assert_eq!(
        pem.lists("").unwrap().len(),
        1,
        "certificates revoke nobody"
    );

    let two = key.clone() + "\n" + &block("PRIVATE KEY", &pkcs8());
    let said = decode(two)
        .unwrap()
        .private_key("")
        .unwrap_err()
        .to_string();
    assert_eq!(
        said,
        "line 6: a second private key; the first is at line 1: leave the one that is meant"
    );
    let rsa = decode(block("RSA PRIVATE KEY", &pkcs1())).unwrap();
    assert_eq!(rsa.private_key("").unwrap().secret_der(), pkcs1());
}

#[test]
fn no_change_of_one_byte_loses_a_block_in_silence() {
    let key = tlv(0x30, &[2, 1, 1, 4, 1, 9]);
    let text = ["a - b\n", &block("CERTIFICATE", &signed(3, 1)), "\n"].concat()
        + &block("EC PARAMETERS", &[6, 1, 42])
        + &block("EC PRIVATE KEY", &key)
        + &block("X509 CRL", &signed(4, 2));
    let labels = |text: &[u8]| -> Result<Vec<(String, usize)>, Fault> {
        let all = blocks(text)?.into_iter();
        Ok(all.map(|(label, _, der)| (label, der.len())).collect())
    };
    let whole = labels(text.as_bytes()).unwrap();
    assert_eq!(whole.len(), 4);
    let mut still_good = 0;
    for at in 0..text.len() {
        let (before, after) = text.as_bytes().split_at(at);
        let changed = (0..=255).map(|byte| [before, &[byte], &after[1..]].concat());
        let added = (0..=255).map(|byte| [before, &[byte], after].concat());
        let removed = [[before, &after[1..]].concat()];
        for text in changed.chain(added).chain(removed) {
            if let Ok(found) = labels(&text) {
                assert_eq!(found, whole, "{}", String::from_utf8_lossy(&text));
                still_good += 1;
            }
        }
    }
    assert!(still_good > 1000);
}

#[test]
fn what_is_decoded_is_in_memory_once() {
    let der = tlv(0x30, &tlv(0x30, &[5; 60_000]));
    let list = ["a list", "\n", &block("X509 CRL", &der)].concat();
    let pem = decode([&*list, &*list].concat()).unwrap();
    let lists = pem.lists("").unwrap();
    assert_eq!((&*lists[0].der, &*lists[1].der), (&*der, &*der));
    assert_eq!(pem.bytes.len(), 2 * der.len(), "and nothing beside it");
    drop(pem);
    let bytes = Arc::clone(&lists[0].der.bytes);
    drop(lists);
    assert_eq!(Arc::strong_count(&bytes), 1, "nobody else keeps it");

    // A key does not move: it would leave a copy behind.
    let text = Zeroizing::new(block("PRIVATE KEY", &pkcs8()).into_bytes());
    let memory = text.as_ptr_range();
    let pem = Pem::decode(text).unwrap();
    let key = pem.private_key("").unwrap();
    assert!(memory.contains(&key.secret_der().as_ptr()));
}

/// A file of some blocks with text around them, and how many bytes it has before each block's end.
fn file() -> impl Strategy<Value = (String, Vec<usize>)> {
    let label = prop_oneof![
        Just(("CERTIFICATE", signed as fn(usize, u8) -> Vec<u8>)),
        Just(("X509 CRL", signed as fn(usize, u8) -> Vec<u8>)),
        Just((
            "EC PRIVATE KEY",
            (|_, _| sec1()) as fn(usize, u8) -> Vec<u8>
        )),
        Just((
            "EC PARAMETERS",
            (|_, fill| vec![6, 1, fill]) as fn(usize, u8) -> Vec<u8>
        )),
    ];
    let part = (
        label,
        0_usize..200,
        any::<u8>(),
        "[a-z =#]{0,9}",
        prop_oneof![Just("\n"), Just("\r\n"), Just("\r")],
    );
    proptest::collection::vec(part, 1..4).prop_map(|parts| {
        let mut text = String::new();
        let mut ends = Vec::new();
        for ((label, make), length, fill, around, newline) in parts {
            let one = format!("{around}\n{}", block(label, &make(length, fill)));
            text.push_str(&one.replace('\n', newline));
            ends.push(text.len() - newline.len());
        }
        (text, ends)
    })
}

proptest! {
    #[test]
    fn any_bytes_are_blocks_or_a_fault(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        drop(blocks(bytes));
    }

    #[test]
    fn any_text_around_blocks_changes_nothing(
        before in "[^\0]{0,80}",
        between in "[^\0]{0,80}",
        after in "[^\0-]{0,80}",
        latin1 in proptest::collection::vec(1_u8..=255, 0..40),
    ) {
        let text = [before.as_bytes(), &latin1, b"\n", cert(1).as_bytes(), between.as_bytes(), b"\n",
            cert(2).as_bytes(), after.as_bytes()].concat();
        // A dash or nothing after a last line break begins a border.
        prop_assume!(!after.starts_with('-'));
        let found = certificates(&text).map_err(TestCaseError::fail)?;
        let ders: Vec<_> = found.into_iter().map(|(_, der)| der).collect();
        prop_assert_eq!(ders, [signed(148, 1), signed(148, 2)]);
    }

    #[test]
    fn a_file_that_was_cut_has_all_blocks_before_the_cut_or_is_refused((text, ends) in file(), at in any::<prop::sample::Index>()) {
        let at = at.index(text.len());
        let whole = blocks(&text).map_err(|fault| TestCaseError::fail(fault.to_string()))?;
        let begun = text[..at].matches("-----B").count();
        let ended = ends.iter().filter(|end| **end <= at).count();
        if let Ok(found) = blocks(&text[..at]) {
            prop_assert_eq!(begun, ended, "a block that was begun is not lost");
            prop_assert_eq!(&found[..], &whole[..ended]);
        }
    }
}
