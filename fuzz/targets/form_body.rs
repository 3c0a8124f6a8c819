//! A form body: an accepted form has no duplicate parameters and no control characters.

#![no_main]

use gatekey_server::oauth::form::Form;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(form) = Form::parse(body) else { return };
    for name in ["grant_type", "scope", "client_id", "client_secret", "token", "audience", ""] {
        let values: Vec<_> = form.all(name).collect();
        assert!(values.len() <= 1, "{name} is there {} times", values.len());
        assert_eq!(form.get(name), values.first().copied());
        assert_eq!(form.require(name).is_ok(), values.len() == 1);
        assert!(
            values.iter().all(|value| !value.is_empty() && !value.chars().any(char::is_control))
        );
    }
    assert!(form.all("resource").count() <= 32);
});
