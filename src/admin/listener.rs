//! Where the admin listener is: loopback or a Unix socket. Binds, accepts, and never looks at what is said.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use crate::config::{Admin, Config};
use crate::listen::{self, BindError, unix};

/// A bound listener, not yet with any runtime.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(std::net::TcpListener),
    Unix(unix::Name, std::os::unix::net::UnixListener),
}

/// The same within the runtime that serves it.
pub(super) enum Accepting {
    Tcp(TcpListener),
    Unix {
        /// Goes before the listener does.
        _name: unix::Name,
        listener: UnixListener,
    },
}

/// One of its connections.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

impl Listener {
    /// Binds as the configuration says; `None` if there is to be no admin listener.
    pub(crate) async fn bind(config: &Config) -> Result<Option<Self>, BindError> {
        let patience = config.timeouts.bind;
        match &config.admin {
            Admin::Off => Ok(None),
            Admin::Tcp(listen) => listen::bind(listen, patience)
                .await
                .map(|listener| Some(Self::Tcp(listener))),
            Admin::Unix(path) => listen::bind_unix(path, patience)
                .await
                .map(|(listener, name)| Some(Self::Unix(name, listener))),
        }
    }

    /// Where it is, if that is on TCP.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    pub(super) fn start(self) -> std::io::Result<Accepting> {
        Ok(match self {
            Self::Tcp(listener) => Accepting::Tcp(TcpListener::from_std(listener)?),
            Self::Unix(name, listener) => Accepting::Unix {
                _name: name,
                listener: UnixListener::from_std(listener)?,
            },
        })
    }
}

impl Accepting {
    pub(super) async fn accept(&self) -> std::io::Result<Box<dyn Connection>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix { listener, .. } => Box::new(listener.accept().await?.0),
        })
    }

    /// True if a browser could be made to connect.
    pub(super) fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }
}
