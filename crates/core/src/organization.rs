//! [`Organization`]: the organization of a server. One server has one organization.

/// The organization names that a server accepts: none, its own, and the first label of its public
/// host, which the public Terraform provider sends if a key names no organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    name: String,
    host_label: String,
}

impl Organization {
    pub fn new(name: &str, public_host: &str) -> Self {
        let host_label = public_host.split('.').next().unwrap_or_default().to_owned();
        Self { name: name.to_owned(), host_label }
    }

    /// The configured name; empty by default.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether this server serves the named organization.
    pub fn answers_to(&self, name: &str) -> bool {
        name.is_empty() || name == self.name || name == self.host_label
    }

    /// The `userhandle` claim: a name that this server accepts. On a serverless endpoint, the
    /// public class uses it as the organization.
    pub fn user_handle(&self) -> &str {
        if self.name.is_empty() { &self.host_label } else { &self.name }
    }
}
