//! The URL of the command line in, what to connect to and what to ask for out.
//!
//! Its own file because what is accepted here is less than a URL may be: https only, no user names, nothing but ASCII.
//! Resolves no name.

use std::fmt;
use std::str::FromStr;

use hyper::Uri;
use rustls::pki_types::ServerName;

/// An `https://` URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    text: String,
    /// Without the brackets of an IPv6 literal.
    host: String,
    port: u16,
    /// Host and port as they were written, for the `Host` header.
    authority: String,
    /// Path and query.
    path: String,
    /// The host, as the server must prove to be.
    server_name: ServerName<'static>,
}

/// Why a text is no URL to scrape: what is wrong and what to write instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidUrl(&'static str);

impl Url {
    /// A host name or an IP address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// 443 if none was written.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the `Host` header says.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What the request line asks for.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The name that the server's certificate must have.
    pub fn server_name(&self) -> &ServerName<'static> {
        &self.server_name
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Url {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: InvalidUrl = InvalidUrl("not a URL; write it like https://HOST:PORT/metrics");
        match text.split_once("://") {
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {}
            Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => {
                return Err(InvalidUrl(
                    "plain http, and this speaks TLS only; write https://, or use curl",
                ));
            }
            Some(_) => return Err(InvalidUrl("not an https URL; write https://HOST:PORT/PATH")),
            None => return Err(InvalidUrl("has no scheme; write https:// before it")),
        }
        let uri: Uri = text.parse().map_err(|_| FORM)?;
        let authority = uri.authority().ok_or(FORM)?;
        if authority.as_str().contains('@') {
            return Err(InvalidUrl(
                "has a user name, which would go nowhere; take out the part up to the @",
            ));
        }
        // What follows the host is nothing or a colon and digits; the parser takes any number of them.
        let after = authority.as_str().strip_prefix(authority.host());
        let port = match after.map(|text| text.strip_prefix(':').map(str::parse)) {
            Some(None) => 443,
            Some(Some(Ok(port))) if port != 0 => port,
            Some(Some(_)) | None => {
                return Err(InvalidUrl("has no usable port; write one of 1 to 65535"));
            }
        };
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
            .to_owned();
        let server_name = ServerName::try_from(host.clone()).map_err(|_| {
            InvalidUrl("the host is neither a DNS name nor an IP address; correct it")
        })?;
        Ok(Self {
            text: text.to_owned(),
            host,
            port,
            authority: authority.as_str().to_owned(),
            path: uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), ToString::to_string),
            server_name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_urls_are_taken() {
        for (text, host, port, path) in [
            ("https://localhost", "localhost", 443, "/"),
            (
                "HTTPS://localhost:54899/metricz",
                "localhost",
                54899,
                "/metricz",
            ),
            ("https://[::1]:1/a?b=c#d", "::1", 1, "/a?b=c"),
            ("https://127.0.0.1?x", "127.0.0.1", 443, "/?x"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!((url.host(), url.port(), url.path()), (host, port, path));
        }
        for (text, why) in [
            ("http://localhost/", "plain http"),
            ("ftp://localhost/", "not an https URL"),
            ("localhost:54899/metrics", "no scheme"),
            ("https://", "not a URL"),
            ("https://a b/", "not a URL"),
            ("https://user@localhost/", "user name"),
            ("https://localhost:/", "no usable port"),
            ("https://localhost:0/", "no usable port"),
            ("https://localhost:65536/", "no usable port"),
            ("https://-/", "neither a DNS name nor"),
        ] {
            let error = text.parse::<Url>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
