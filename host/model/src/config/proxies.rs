//! Reads the key `http.trusted_proxies`: whose word counts about the client of a request.

use std::net::IpAddr;

use ipnet::IpNet;

use super::tree::{Table, Value};
use crate::problem::{Code, Problem};

/// Greatest number of addresses and networks. Each request is compared with all of them.
const MAX_PROXIES: usize = 1000;

/// The proxies that may say for whom they pass requests on, by addresses and networks. Default: none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Whether no proxy is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the proxy with this address is trusted.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Reads the key `trusted_proxies` of the table `[http]`.
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let Some(value) = table.optional("trusted_proxies") else { return Self::default() };
        let list = value.list().unwrap_or_default();
        if list.len() > MAX_PROXIES {
            value.refuse(format_args!("the list has more than {MAX_PROXIES} entries"));
            return Self::default();
        }
        let mut networks = Vec::new();
        for entry in list {
            let Some(network) = read_network(&entry) else { continue };
            if networks.contains(&network) {
                entry.report(Problem::new(Code::Duplicate, format!("`{network}` is in the list twice")));
            } else {
                networks.push(network);
            }
        }
        Self(networks)
    }
}

/// Reads an address, or a network in the notation of CIDR.
fn read_network(value: &Value<'_>) -> Option<IpNet> {
    let text = value.string()?;
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let Ok(network) = network else {
        value.refuse(format_args!(
            "`{text}` is neither an IP address nor a network, such as `10.0.0.7`, `10.0.0.0/8` or `2001:db8::/32`"
        ));
        return None;
    };
    if network.trunc() != network {
        value.refuse(format_args!("`{text}` is an address within a network: write `{}`", network.trunc()));
        return None;
    }
    Some(network)
}
