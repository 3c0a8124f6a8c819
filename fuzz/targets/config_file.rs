//! A configuration file: an accepted file gives a server a valid URL, issuer and audience.

#![no_main]

use gatekey_server::config::Settings;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(settings) = Settings::from_toml(text) else { return };
    let listen = settings.listen();
    match settings.resolve(listen) {
        Ok(config) => {
            let url = config.url("/me");
            assert!(url.starts_with("https://") || url.starts_with("http://"), "{url}");
            assert!(!config.public_host().is_empty() && !config.endpoint().contains('/'), "{url}");
            assert!(!config.audiences.is_empty());
        }
        Err(broken) => assert!(!broken.is_empty()),
    }
});
