//! Which ports programs of this sandbox listen on: for the words about one that is not the expected.

use std::fs;

/// Hexadecimal state of a listening socket in /proc/net/tcp. Source: Linux include/net/tcp_states.h.
const LISTEN: &str = "0A";
/// The sandbox's own: the Runtime API and the platform's.
const OWN: [u16; 2] = [9001, 9010];

/// In order, each once; empty where nothing is known.
pub fn ports() -> Vec<u16> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|file| fs::read_to_string(file).unwrap_or_default());
    let mut ports: Vec<u16> =
        tables.iter().flat_map(|table| listed(table)).filter(|port| !OWN.contains(port)).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// `  0: 0100007F:1F90 00000000:0000 0A ...`, behind a line of titles.
fn listed(table: &str) -> Vec<u16> {
    let port_of = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (_, port) = words.next()?.rsplit_once(':')?;
        (words.nth(1)? == LISTEN).then(|| u16::from_str_radix(port, 16).ok()).flatten()
    };
    table.lines().skip(1).filter_map(port_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn listed_are_ports_that_something_listens_on() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n\
             1: 0100007F:2332 0100007F:1F90 01 00000000:00000000\n\
             2: 00000000000000000000000001000000:0BB8 00000000000000000000000000000000:0000 0A 0\nodd\n";
        assert_eq!(listed(table), [8080, 3000]);
        assert!(listed("").is_empty());
    }

    #[test]
    fn ports_are_those_of_this_machine() {
        let (v4, v6) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("[::1]:0"));
        let all = ports();
        assert!(all.contains(&v4.local_addr().unwrap().port()));
        if let Ok(v6) = v6 {
            assert!(all.contains(&v6.local_addr().unwrap().port()));
        }
    }
}
