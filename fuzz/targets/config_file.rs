//! A configuration file: if it is accepted, the server has valid addresses.

#![no_main]

use std::path::Path;

use gatekey_server::config::Settings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(settings) = Settings::from_toml(Path::new("gatekey.toml"), text) else { return };
    let listen = settings.listen();
    match settings.resolve(listen) {
        Ok(config) => {
            let url = config.server.url("/me");
            assert!(url.starts_with("https://") || url.starts_with("http://"), "{url}");
            assert!(
                !config.server.public_host().is_empty() && !config.server.endpoint().contains('/'),
                "{url}"
            );
            assert!(!config.tokens.audiences.is_empty());
        }
        Err(broken) => assert!(!broken.is_empty()),
    }
});
