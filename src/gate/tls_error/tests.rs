//! Every sentence is ours, and a server name is told from bytes of any shape.

use proptest::prelude::*;
use rustls::pki_types::{AlgorithmIdentifier, ServerName};

use super::*;

/// A ClientHello that asks for this name, in records of at most so many bytes.
fn hello(name: &[u8], fragment: usize) -> Vec<u8> {
    let vector = |length: usize, bytes: &[u8]| -> Vec<u8> {
        let size = (bytes.len() as u64).to_be_bytes();
        [&size[size.len() - length..], bytes].concat()
    };
    let names = vector(2, &[&[0], &*vector(2, name)].concat());
    let extensions = [
        &[0, 43][..],
        &*vector(2, &[2, 3, 4]),
        &[0, 0],
        &*vector(2, &names),
    ];
    let body = [
        &[3, 3][..],
        &[7; 32],
        &vector(1, &[1; 32]),
        &vector(2, &[0x13, 0x01]),
        &vector(1, &[0]),
        &vector(2, &extensions.concat()),
    ];
    let message = [&[1][..], &vector(3, &body.concat())].concat();
    let records = message.chunks(fragment);
    let records = records.map(|part| [&[22, 3, 1][..], &vector(2, part)].concat());
    records.collect::<Vec<_>>().concat()
}

#[test]
fn a_server_name_that_is_no_host_name_is_shown_with_the_one_that_was_meant() {
    let misbehaved = Error::PeerMisbehaved(PeerMisbehaved::ServerNameMustContainOneHostName);
    for (asked, shown) in [
        (
            "gate.test:9090",
            "\"gate.test:9090\", which is no host name; let it ask for \"gate.test\" (",
        ),
        ("[gate.test]", "let it ask for \"gate.test\" ("),
        ("[gate.test]:9090", "let it ask for \"gate.test\" ("),
        ("https://gate.test:1/x", "let it ask for \"gate.test\" ("),
        (
            "gate test",
            "let it ask for a name of the gate's certificate (",
        ),
        ("[::1]", "let it ask for a name of the gate's certificate ("),
        (
            "a\u{202e}b\n",
            "\"a\\\\u{202e}b\\\\n\", which is no host name",
        ),
    ] {
        for fragment in [1, 40, 16_384] {
            let failure = Failure::new(misbehaved.clone(), &hello(asked.as_bytes(), fragment));
            let said = failure.to_string();
            assert!(said.contains(shown), "{shown}: {said}");
        }
    }
    let long = Failure::new(misbehaved.clone(), &hello(&[b':'; 4000], 16_384)).to_string();
    assert!(long.len() < 600 && long.contains('…'), "{long}");
    for unreadable in [
        &b""[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &hello(b"x:1", 100)[..70],
    ] {
        let said = Failure::new(misbehaved.clone(), unreadable).to_string();
        assert!(said.ends_with("without a port or brackets"), "{said}");
    }
    let other = Failure::new(Error::DecryptError, &hello(b"x:1", 100)).to_string();
    assert!(!other.contains("x:1"), "{other}");
}

#[test]
fn no_sentence_has_a_librarys_words_in_it() {
    use rustls::{ContentType, HandshakeType};
    let algorithm = vec![6, 9, 42];
    let mut errors = vec![
        Error::InappropriateMessage {
            expect_types: vec![ContentType::Handshake],
            got_type: ContentType::Alert,
        },
        Error::InappropriateHandshakeMessage {
            expect_types: vec![HandshakeType::ClientHello],
            got_type: HandshakeType::Finished,
        },
        Error::NoCertificatesPresented,
        Error::UnsupportedNameType,
        Error::DecryptError,
        Error::EncryptError,
        Error::General("failed to parse private key as RSA, ECDSA, or EdDSA".to_owned()),
        Error::FailedToGetCurrentTime,
        Error::FailedToGetRandomBytes,
        Error::HandshakeNotComplete,
        Error::PeerSentOversizedRecord,
        Error::NoApplicationProtocol,
        Error::BadMaxFragmentSize,
    ];
    errors.extend((0..=u8::MAX).map(|alert| Error::AlertReceived(alert.into())));
    errors.extend(
        [
            InvalidMessage::InvalidServerName,
            InvalidMessage::MissingData("ServerNames"),
            InvalidMessage::DuplicateExtension(10),
            InvalidMessage::InvalidContentType,
            InvalidMessage::NoSignatureSchemes,
            InvalidMessage::HandshakePayloadTooLarge,
            InvalidMessage::IllegalEmptyList("NamedGroups"),
        ]
        .map(Error::InvalidMessage),
    );
    errors.extend(
        [
            PeerIncompatible::EcPointsExtensionRequired,
            PeerIncompatible::ExtendedMasterSecretExtensionRequired,
            PeerIncompatible::IncorrectCertificateTypeExtension,
            PeerIncompatible::KeyShareExtensionRequired,
            PeerIncompatible::NoCipherSuitesInCommon,
            PeerIncompatible::NoKxGroupsInCommon,
            PeerIncompatible::NoSignatureSchemesInCommon,
            PeerIncompatible::NullCompressionRequired,
            PeerIncompatible::ServerRejectedEncryptedClientHello(None),
            PeerIncompatible::SignatureAlgorithmsExtensionRequired,
            PeerIncompatible::SupportedVersionsExtensionRequired,
            PeerIncompatible::Tls12NotOfferedOrEnabled,
            PeerIncompatible::Tls13RequiredForQuic,
        ]
        .map(Error::PeerIncompatible),
    );
    errors.extend(
        [
            PeerMisbehaved::ServerNameMustContainOneHostName,
            PeerMisbehaved::ServerNameDifferedOnRetry,
            PeerMisbehaved::InvalidKeyShare,
            PeerMisbehaved::IncorrectBinder,
            PeerMisbehaved::TooManyEmptyFragments,
            PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme,
            PeerMisbehaved::KeyEpochWithPendingFragment,
            PeerMisbehaved::UnsolicitedEchExtension,
        ]
        .map(Error::PeerMisbehaved),
    );
    errors.extend(
        [
            CertificateError::BadSignature,
            CertificateError::BadEncoding,
            CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: algorithm.clone(),
                supported_algorithms: vec![AlgorithmIdentifier::from_slice(&[6, 9, 42])],
            },
            CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: algorithm.clone(),
                public_key_algorithm_id: algorithm,
            },
            CertificateError::NotValidForNameContext {
                expected: ServerName::try_from("x.test").unwrap(),
                presented: Vec::new(),
            },
        ]
        .map(Error::InvalidCertificate),
    );
    for error in errors {
        let (said, debug) = (reason(&error), format!("{error:?}"));
        let own = said.starts_with("the ")
            || said.starts_with("what the client")
            || said.starts_with("TLS failed");
        assert!(own, "{said}");
        let names = debug.split(|c: char| !c.is_ascii_alphanumeric());
        // A word of two humps is a name in the library.
        let camel =
            |word: &&str| word.chars().skip(1).any(|c| c.is_ascii_uppercase()) && word.len() > 8;
        for name in names.filter(camel) {
            assert!(!said.contains(name), "{name}: {said}");
        }
        assert!(!said.contains("failed to parse"), "{said}");
    }
}

#[test]
fn a_failure_is_counted_as_what_it_is() {
    for (error, kind) in [
        (
            CertificateError::BadSignature.into(),
            RefusalKind::KeyNotProven,
        ),
        (
            CertificateError::BadEncoding.into(),
            RefusalKind::Unreadable,
        ),
        (
            Error::AlertReceived(AlertDescription::CloseNotify),
            RefusalKind::ClientLeft,
        ),
        (Error::FailedToGetRandomBytes, RefusalKind::GateFault),
        (
            PeerMisbehaved::InvalidKeyShare.into(),
            RefusalKind::BrokenTls,
        ),
        (
            InvalidMessage::HandshakePayloadTooLarge.into(),
            RefusalKind::BrokenTls,
        ),
    ] {
        assert_eq!(Failure::from(error).kind(), kind);
    }
}

#[test]
fn alerts_have_the_names_that_other_programs_show() {
    assert_eq!(alert_name(AlertDescription::UnknownCA), "unknown_ca");
    assert_eq!(
        alert_name(AlertDescription::CertificateRequired),
        "certificate_required"
    );
    assert_eq!(alert_name(AlertDescription::from(200)), "without a name");
    let said = reason(&Error::AlertReceived(AlertDescription::UnknownCA));
    assert_eq!(
        said,
        "the client gave up with the alert unknown_ca (48): it does not trust the CA of the gate's certificate"
    );
}

proptest! {
    #[test]
    fn no_bytes_do_worse_than_say_nothing(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        hello::server_name(&bytes);
        let mut near = hello(b"gate.test:9090", 64);
        let at = at.index(near.len());
        near[at] = byte;
        hello::server_name(&near);
        hello::no_host_name(&String::from_utf8_lossy(&bytes));
    }
}
