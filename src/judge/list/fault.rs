//! Why a revocation list cannot be used, in words. A list that is understood in part could miss the one entry that counts.

/// Why a list cannot be used: what is wrong with it and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListFault {
    /// Not the frame of a list.
    #[error("it is no revocation list in DER, or it is cut short; fetch or issue it again")]
    NoList,
    /// No version field.
    #[error(
        "it is of version 1, without a number and extensions; let the CA issue version 2 (with `openssl ca`: crlnumber \
         and crl_extensions in its configuration)"
    )]
    Version1,
    /// A later version than anybody knows.
    #[error("it is of a version that RFC 5280 does not know; let the CA issue version 2")]
    Version,
    /// The outer and the inner algorithm differ.
    #[error("it names two different signature algorithms; issue it again")]
    TwoAlgorithms,
    /// A part that is not as RFC 5280 has it.
    #[error("its {0} is malformed; issue it again")]
    Malformed(&'static str),
    /// RFC 5280 section 5.1.2.5.
    #[error(
        "it does not say when there will be a newer one (nextUpdate); let the CA issue it with one"
    )]
    NoNextUpdate,
    /// The times are the wrong way round.
    #[error("it ends (nextUpdate) before it begins (thisUpdate); issue it again")]
    EndsBeforeItBegins,
    /// RFC 5280 section 5.2.3.
    #[error(
        "it has no number (cRLNumber), by which a newer list is told from an older one; let the CA issue it with one"
    )]
    NoNumber,
    /// RFC 5280 section 5.2.4.
    #[error(
        "it is a delta list, which says only what changed; give the complete list, which needs no delta"
    )]
    Delta,
    /// RFC 5280 section 5.2.5, indirectCRL, and 5.3.3.
    #[error(
        "it is an indirect list, which speaks for other CAs than its issuer; give the list of each CA"
    )]
    Indirect,
    /// onlyContainsAttributeCerts.
    #[error("it is for attribute certificates only, which no TLS client has; take it out")]
    AttributeCertificates,
    /// Flags that leave nobody.
    #[error(
        "it is said to be for users only and for CAs only (issuingDistributionPoint); issue it again"
    )]
    ForNobody,
    /// nameRelativeToCRLIssuer.
    #[error(
        "it names its distribution point relative to its issuer, which the gate does not read; let the CA write the \
         whole name"
    )]
    RelativePoint,
    /// An extension that must be understood and is not.
    #[error(
        "it has the critical extension {0}, which the gate does not know; let the CA issue it without"
    )]
    Critical(String),
    /// One in an entry.
    #[error(
        "entry {entry} has the critical extension {extension}, which the gate does not know; let the CA issue it without"
    )]
    CriticalInEntry {
        /// Counted from one.
        entry: usize,
        /// Its name or number.
        extension: String,
    },
    /// One extension twice.
    #[error("it has the extension {0} twice; issue it again")]
    Twice(String),
    /// A serial number that would not be found.
    #[error(
        "entry {0} writes its serial number with superfluous bytes, which is not DER, so that it names no certificate; \
         issue it again"
    )]
    PaddedSerial(usize),
    /// An entry that is not as RFC 5280 has it.
    #[error("entry {0} is malformed; issue it again")]
    Entry(usize),
}
