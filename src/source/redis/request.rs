//! Every command that is ever sent to a Redis server. A command that is not a variant here cannot be sent, so this list
//! is the proof that only reads happen, and that each reply is small by itself: no `KEYS`, no `LRANGE`, no `SMEMBERS`.

use redis::Cmd;
use secrecy::{ExposeSecret, SecretString};

/// The most bytes a number written as text may have. `f64` needs 25 at most; more is not a number.
pub(super) const NUMBER_BYTES_MAX: usize = 64;

/// How the connection shows in `CLIENT LIST`.
const CLIENT_NAME: &str = "taffrail";

/// One command.
#[derive(Clone, Debug)]
pub(super) enum Request<'a> {
    /// Who we are. `SecretString` does not print.
    Auth {
        username: Option<SecretString>,
        password: SecretString,
    },
    /// The logical database.
    Select(u32),
    /// Our name in `CLIENT LIST`: a courtesy, so its failure is none.
    SetName,
    /// Answered only by a server that would answer an app: not while loading, not while a script blocks it.
    Ping,
    /// Calls and time of each command.
    CommandStats,
    /// Empty unless the server keeps latency histograms now.
    LatencyStats,
    /// The histogram of each command.
    LatencyHistogram,
    /// What a key holds.
    Type(&'a str),
    ListLength(&'a str),
    SetLength(&'a str),
    SortedSetLength(&'a str),
    HashLength(&'a str),
    StreamLength(&'a str),
    /// The first bytes of a string: as many as a number may have, and one more to notice a longer one.
    Number(&'a str),
    /// All fields of a hash; asked only after [`Request::HashLength`] said that they are few.
    HashFields(&'a str),
    /// The summary of a group's pending entries, not the entries.
    Pending {
        key: &'a str,
        group: &'a str,
    },
    /// The groups of a stream with their lag.
    Groups(&'a str),
}

impl Request<'_> {
    /// The command's name, for messages.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Auth { .. } => "AUTH",
            Self::Select(_) => "SELECT",
            Self::SetName => "CLIENT SETNAME",
            Self::Ping => "PING",
            Self::CommandStats | Self::LatencyStats => "INFO",
            Self::LatencyHistogram => "LATENCY HISTOGRAM",
            Self::Type(_) => "TYPE",
            Self::ListLength(_) => "LLEN",
            Self::SetLength(_) => "SCARD",
            Self::SortedSetLength(_) => "ZCARD",
            Self::HashLength(_) => "HLEN",
            Self::StreamLength(_) => "XLEN",
            Self::Number(_) => "GETRANGE",
            Self::HashFields(_) => "HGETALL",
            Self::Pending { .. } => "XPENDING",
            Self::Groups(_) => "XINFO GROUPS",
        }
    }

    /// The key it reads, for messages.
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Self::Type(key)
            | Self::ListLength(key)
            | Self::SetLength(key)
            | Self::SortedSetLength(key)
            | Self::HashLength(key)
            | Self::StreamLength(key)
            | Self::Number(key)
            | Self::HashFields(key)
            | Self::Pending { key, .. }
            | Self::Groups(key) => Some(key),
            Self::Auth { .. }
            | Self::Select(_)
            | Self::SetName
            | Self::Ping
            | Self::CommandStats
            | Self::LatencyStats
            | Self::LatencyHistogram => None,
        }
    }

    /// Appends the command as Redis reads it.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut cmd = Cmd::new();
        for word in self.name().split(' ') {
            cmd.arg(word);
        }
        match self {
            Self::Auth { username, password } => {
                if let Some(username) = username {
                    cmd.arg(username.expose_secret());
                }
                cmd.arg(password.expose_secret());
            }
            Self::Select(db) => {
                cmd.arg(*db);
            }
            Self::SetName => {
                cmd.arg(CLIENT_NAME);
            }
            Self::CommandStats => {
                cmd.arg("commandstats");
            }
            Self::LatencyStats => {
                cmd.arg("latencystats");
            }
            Self::Number(key) => {
                cmd.arg(key).arg(0).arg(NUMBER_BYTES_MAX);
            }
            Self::Pending { key, group } => {
                cmd.arg(key).arg(group);
            }
            Self::Ping | Self::LatencyHistogram => {}
            Self::Type(key)
            | Self::ListLength(key)
            | Self::SetLength(key)
            | Self::SortedSetLength(key)
            | Self::HashLength(key)
            | Self::StreamLength(key)
            | Self::HashFields(key)
            | Self::Groups(key) => {
                cmd.arg(key);
            }
        }
        cmd.write_packed_command(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(request: &Request<'_>) -> String {
        let mut out = Vec::new();
        request.encode(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_command_of_two_words_and_a_key_with_odd_bytes_go_out_whole() {
        assert_eq!(
            encoded(&Request::Groups("a b\r\n")),
            "*3\r\n$5\r\nXINFO\r\n$6\r\nGROUPS\r\n$5\r\na b\r\n\r\n"
        );
        assert_eq!(
            encoded(&Request::Number("n")),
            "*4\r\n$8\r\nGETRANGE\r\n$1\r\nn\r\n$1\r\n0\r\n$2\r\n64\r\n"
        );
    }

    #[test]
    fn a_password_is_sent_but_never_printed() {
        let request = Request::Auth {
            username: Some(SecretString::from("m".to_owned())),
            password: SecretString::from("hush".to_owned()),
        };
        assert!(encoded(&request).contains("hush"));
        assert!(!format!("{request:?}").contains("hush"));
    }
}
