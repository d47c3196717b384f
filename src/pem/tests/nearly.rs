//! Every way we could think of to write a block nearly right, and what is no block at all: what is said of it, and of
//! which line.

use super::*;

/// A good block, and one after it that is going to be changed.
struct Two {
    good: String,
    next: String,
}

/// Where the second block begins, where its base64 does, and where it ends.
const BEGIN: usize = 7;
const BODY: usize = 8;
const END: usize = 12;

impl Two {
    fn new() -> Self {
        let (good, next) = (cert(1), cert(2));
        assert_eq!(good.lines().count(), BEGIN - 1);
        Self { good, next }
    }

    /// This in place of the second block.
    fn refused(&self, line: usize, text: &str, what: &str) {
        self.all_refused(line, &(self.good.clone() + text), what);
    }

    fn all_refused(&self, line: usize, text: &str, what: &str) {
        let said = certificates(text).expect_err(what);
        assert!(said.starts_with(&format!("line {line}: ")), "{text}{said}");
        assert!(said.contains(what), "{text}{what:?} in {said:?}");
        assert!(said.contains(';') || said.contains("there are"), "{said}");
        // No message shows a byte of a block.
        for part in base64(&signed(148, 2)) {
            assert!(!said.contains(&part[..8]), "{said}");
        }
    }

    /// The second block with another first line.
    fn begin(&self, from: &str, to: &str, what: &str) {
        self.refused(BEGIN, &self.next.replacen(from, to, 1), what);
    }

    /// The second block with another text.
    fn body(&self, from: &str, to: &str, what: &str) {
        self.refused(BODY, &self.next.replace(from, to), what);
    }

    /// The second block with another last line.
    fn end(&self, from: &str, to: &str, what: &str) {
        self.refused(END, &self.next.replace(from, to), what);
    }

    /// The second block with another label.
    fn label(&self, label: &str, what: &str) {
        self.refused(BEGIN, &self.next.replace("CERTIFICATE", label), what);
    }

    /// Something before each line of the second block.
    fn each_line(&self, before: &str, what: &str) {
        let lines = self.next.lines();
        let text: String = lines.map(|line| format!("{before}{line}\n")).collect();
        self.refused(BEGIN, &text, what);
    }

    /// Another block of this label and content.
    fn block(&self, label: &str, der: &[u8], what: &str) {
        self.refused(BEGIN, &block(label, der), what);
    }
}

#[test]
fn a_line_that_is_nearly_a_border() {
    let two = Two::new();
    let joined = two.good.trim_end().to_owned() + &two.next;
    two.all_refused(BEGIN - 1, &joined, "join files with a newline");
    two.each_line("  ", "YAML");
    two.each_line("\t", "YAML");
    two.each_line("# ", "delete what is commented out");
    two.each_line("> ", "something stands before it");
    two.each_line("+", "something stands before it");
    two.begin("-----BEGIN", "----BEGIN", "there are 4");
    two.begin("-----BEGIN", "------BEGIN", "there are 6");
    two.begin("-----BEGIN", "-BEGIN", "there are 1");
    two.begin("-----BEGIN", "BEGIN", "there are 0");
    two.begin("-----BEGIN", "- - - - - BEGIN", "there are 1");
    two.begin("TE-----", "TE----", "there are 4");
    two.begin("TE-----", "TE------", "there are 6");
    two.begin("TE-----", "TE", "the dashes at its end are missing");
    two.begin("-----\n", "-----", "something follows it");
    two.begin("-----\n", "----- root\n", "something follows it");
    two.begin("BEGIN CERT", "BEGIN  CERT", "single spaces");
    two.begin("-----BEGIN", "----- BEGIN", "single spaces");
    two.begin("BEGIN CERT", "BEGINCERT", "single spaces");
    two.begin("BEGIN", "Begin", "in capitals");
    two.refused(BEGIN, &two.next.to_lowercase(), "in capitals");
    two.end("END CERT", "END CRET", "the end of \"CRETIFICATE\"");
    two.end("END CERTIFICATE", "END X509 CRL", "the end of \"X509 CRL\"");
    two.end("-----END", " -----END", "YAML");
    two.end("-----END", "–––––END", "a word processor");
}

#[test]
fn a_border_that_a_program_has_altered() {
    let two = Two::new();
    for dashes in ["–––––", "——-", "—", "−−−−−", "‐‐‐‐‐", "\u{ad}\u{ad}"]
    {
        let text = two.next.replace("-----", dashes);
        two.refused(BEGIN, &text, "a word processor");
    }
    for entities in ["&#45;&#45;&#45;&#45;&#45;", "&mdash;&ndash;"] {
        let text = two.next.replace("-----", entities);
        two.refused(BEGIN, &text, "a web page");
    }
    two.begin("BEGIN ", "BEGIN\u{a0}", "not those of ASCII");
    let escaped = format!("\"{}\"\n", two.next.replace('\n', "\\n"));
    two.refused(BEGIN, &escaped, "write real ones");
    let unquoted = two.next.replace('\n', " ");
    two.refused(BEGIN, &unquoted, "without quotes");
    let data = format!("  ca.crt: {}\n", STANDARD.encode(&two.next));
    two.refused(BEGIN, &data, "base64 -d");
}

#[test]
fn a_block_that_lost_a_part() {
    let two = Two::new();
    let (_, no_begin) = two.next.split_once('\n').unwrap();
    two.refused(BEGIN, no_begin, "stands in no block");
    let short = "AA\n-----END CERTIFICATE-----\n";
    two.refused(BODY, short, "whose beginning is not there");
    let (no_end, _) = two.next.rsplit_once("-----END").unwrap();
    two.refused(BEGIN, no_end, "has no end");
    let another = no_end.to_owned() + &two.good;
    two.all_refused(1, &another, "has no end by line 6");
    let (body, _) = no_begin.rsplit_once("-----END").unwrap();
    two.refused(BEGIN, body, "stands in no block");
    let empty = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    two.refused(BODY, empty, "nothing between");
    let cut = &two.next[..two.next.len() - 2];
    two.refused(END, cut, "there are 4");
    two.refused(BEGIN, "-----BEG", "ends where a block begins");
    two.refused(BEGIN, "-", "ends where a block begins");
    two.refused(BEGIN, "-----BEGIN CERTIF", "are missing");
    let second = |(number, _): &(usize, &str)| *number != 2;
    let lines = two.next.lines().enumerate().filter(second);
    let no_line: String = lines.map(|(_, line)| format!("{line}\n")).collect();
    two.refused(BEGIN, &no_line, "is cut short: 106 of the 154");
    two.refused(BEGIN, "\0\0\0\0", "NUL bytes");
    two.body("AgIC", "\0\0\0\0", "a NUL byte");
}

#[test]
fn a_text_that_is_no_base64_of_der() {
    let two = Two::new();
    two.body("-----\nM", "-----\nVersion: 1\n\nM", "has a header");
    two.body("AgIC", "Ag-C", "URL-safe");
    two.body("AgIC", "Ag!C", "not base64");
    two.body("AgIC", "AgäC", "not ASCII");
    two.body("AgIC", "AgI", "does not come out even");
    two.body("==", "", "does not come out even");
    let padded = two.next.replace("==", "===");
    two.refused(END - 1, &padded, "goes on after the `=`");
    two.body("AgIC", "Ag=C", "goes on after the `=`");
    two.body("Ag==", "Ah==", "does not come out even");
    let longer = [&signed(148, 2)[..], &[0]].concat();
    two.block(
        "CERTIFICATE",
        &longer,
        "has more after the end of its DER: 1 of 155",
    );
    two.block("CERTIFICATE", &[0xff; 9], "does not hold DER");
    two.block("CERTIFICATE", &pkcs8(), "label it PRIVATE KEY");
    two.block("CERTIFICATE", &signed(9, 1)[2..], "is no CERTIFICATE");
    two.block("PRIVATE KEY", &signed(50, 1), "is no PRIVATE KEY");
    two.block("PRIVATE KEY", &pkcs1(), "label it RSA PRIVATE KEY");
    two.block("PRIVATE KEY", &sec1(), "label it EC PRIVATE KEY");
}

#[test]
fn a_label_that_is_another_or_none() {
    let two = Two::new();
    two.label("TRUSTED CERTIFICATE", "openssl x509 -in OLD -out NEW");
    two.label("X509 CERTIFICATE", "write CERTIFICATE");
    two.label("CRL", "write X509 CRL");
    two.label("PKCS7", "openssl pkcs7 -print_certs");
    two.label("OPENSSH PRIVATE KEY", "ssh-keygen");
    two.label("DSA PRIVATE KEY", "of no use in TLS");
    two.label("CERTIFCATE", "\"CERTIFCATE\" is no label");
    let legacy = block("RSA PRIVATE KEY", &pkcs1());
    let header = "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nM";
    let legacy = legacy.replacen("KEY-----\nM", header, 1);
    two.refused(BODY, &legacy, "the key is encrypted");
}

#[test]
fn what_is_no_pem_is_told_as_what_it_is() {
    let utf16 = |big: bool| -> Vec<u8> {
        let units = cert(1);
        let units = units.encode_utf16();
        units
            .flat_map(|unit| {
                if big {
                    unit.to_be_bytes()
                } else {
                    unit.to_le_bytes()
                }
            })
            .collect()
    };
    let cut = signed(200, 1);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "nothing",
            vec![],
            "in it: the file is empty; it must hold what it should",
        ),
        (
            "text",
            b"hello".to_vec(),
            "no PEM block CERTIFICATE in it; it must hold what it should",
        ),
        (
            "a key",
            block("PRIVATE KEY", &pkcs8()).into(),
            "no PEM block CERTIFICATE in it, but PRIVATE KEY at line 1",
        ),
        (
            "a request",
            block("CERTIFICATE REQUEST", &signed(9, 1)).into(),
            "but CERTIFICATE REQUEST at line 1",
        ),
        ("DER", signed(100, 1), "openssl x509 -inform DER"),
        ("a key in DER", pkcs8(), "a private key in DER"),
        (
            "PKCS#12",
            tlv(0x30, &[&[2, 1, 3][..], &signed(99, 1)].concat()),
            "openssl pkcs12",
        ),
        (
            "PKCS#7",
            tlv(0x30, &[&[6, 9][..], &[42; 200]].concat()),
            "openssl pkcs7",
        ),
        (
            "DER that was cut",
            cut[..150].to_vec(),
            "begins as DER does",
        ),
        ("UTF-16", utf16(false), "iconv"),
        ("UTF-16 the other way", utf16(true), "iconv"),
        (
            "UTF-16 with a mark",
            [&b"\xff\xfe"[..], &utf16(false)].concat(),
            "iconv",
        ),
        (
            "a key store",
            b"\xfe\xed\xfe\xed\0\0\0\x02".to_vec(),
            "keytool",
        ),
        ("compressed", b"\x1f\x8b\x08\0\0".to_vec(), "unpack it"),
        (
            "a web page",
            b"\n<!DOCTYPE html><title>404</title>".to_vec(),
            "a web page",
        ),
    ];
    for (case, bytes, what) in cases {
        let said = certificates(&bytes).expect_err(case);
        assert!(
            said.contains(what) && said.contains(';'),
            "{case}: {what:?} in {said:?}"
        );
    }
    let der = signed(300, 1);
    let list = decode(&der).unwrap();
    let lists = list.lists("").unwrap();
    assert_eq!((lists.len(), lists[0].line, &*lists[0].der), (1, 1, &*der));
    assert!(decode(&der).unwrap().private_key("").is_err());
    let twice = [&der[..], &der].concat();
    let said = decode(&twice).err().unwrap().to_string();
    assert!(said.starts_with("begins as DER does"), "{said}");
}
