//! Envoy, Traefik and Caddy as proxies: without a check, or asking Gatekey about each request as
//! their configurations of `docs/gate` do. And oauth2-proxy, which checks tokens itself.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::{load::Connection, process::Server};

/// A proxy, from where it is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "OAuth2Proxy is a name")]
pub(crate) enum Proxy {
    Envoy,
    Traefik,
    Caddy,
    OAuth2Proxy,
}

/// Where a proxy runs, and what is behind it.
pub(crate) struct Place<'p> {
    /// For its files.
    pub(crate) directory: &'p Path,
    /// The virtual environment of `tests/proxy/requirements.txt`.
    pub(crate) installed: &'p Path,
    /// `bench/peers`.
    pub(crate) peers: &'p Path,
    pub(crate) upstream: &'p str,
    /// Host and port of Gatekey, which also issued the tokens.
    pub(crate) gatekey: &'p str,
    /// A call that must be answered with 200.
    pub(crate) call: &'p [u8],
}

impl Proxy {
    /// Those that ask Gatekey.
    pub(crate) const ASKING: [Self; 3] = [Self::Envoy, Self::Traefik, Self::Caddy];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Envoy => "Envoy",
            Self::Traefik => "Traefik",
            Self::Caddy => "Caddy",
            Self::OAuth2Proxy => "oauth2-proxy",
        }
    }

    fn program(self, place: &Place<'_>) -> Option<PathBuf> {
        let found = match self {
            Self::Traefik => place.installed.join("bin/traefik"),
            Self::Caddy => place.installed.join("bin/caddy"),
            Self::OAuth2Proxy => place.peers.join("oauth2-proxy/build/oauth2-proxy"),
            Self::Envoy => {
                let versions = fs::read_dir(place.installed.join("lib")).ok()?.flatten();
                let mut found =
                    versions.map(|version| version.path().join("site-packages/envoy/_bin/envoy"));
                return found.find(|path| path.exists());
            }
        };
        found.exists().then_some(found)
    }

    fn missing(self) -> String {
        let how = match self {
            Self::OAuth2Proxy => "bench/peers/oauth2-proxy/install builds it",
            _ => "tests/proxy/requirements.txt, in .venvs/proxies",
        };
        format!("{} is not installed ({how})", self.name())
    }

    /// Starts it, with a check or without, and waits until a call is answered.
    ///
    /// # Errors
    /// When it is not installed or does not serve.
    pub(crate) async fn start(self, place: &Place<'_>, checks: bool) -> anyhow::Result<Server> {
        let program = self.program(place).with_context(|| self.missing())?;
        let directory = place.directory.join(format!(
            "{}-{}",
            self.name(),
            if checks { "checks" } else { "open" }
        ));
        fs::create_dir_all(&directory)?;
        let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let arguments = match self {
            Self::Envoy => envoy(place, &directory, &listen, checks)?,
            Self::Traefik => traefik(place, &directory, &listen, checks)?,
            Self::Caddy => caddy(place, &directory, &listen, checks)?,
            Self::OAuth2Proxy => oauth2_proxy(place, &listen),
        };
        let server = Server::start_on(&listen, &program, &arguments)?;
        let started = Instant::now();
        loop {
            let failed = match Connection::open(&listen).await {
                Ok(mut connection) => match connection.call(place.call).await {
                    Ok(_) => return Ok(server),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if started.elapsed() > Duration::from_secs(30) {
                bail!("{} does not serve: {failed}", self.name());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Writes a file, and returns its path.
fn written(directory: &Path, name: &str, text: &str) -> anyhow::Result<String> {
    let file = directory.join(name);
    fs::write(&file, text)?;
    Ok(file.display().to_string())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Asks over gRPC. One thread, and a line in the log for each request, as Gatekey writes it.
fn envoy(
    place: &Place<'_>,
    directory: &Path,
    listen: &str,
    checks: bool,
) -> anyhow::Result<Vec<String>> {
    let endpoint = |address: &str| {
        let (host, port) = address.rsplit_once(':').unwrap_or_default();
        format!("{{ socket_address: {{ address: {host}, port_value: {port} }} }}")
    };
    let check = if checks {
        r#"
                  - name: envoy.filters.http.ext_authz
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
                      transport_api_version: V3
                      grpc_service: { envoy_grpc: { cluster_name: gatekey }, timeout: 5s }
                      status_on_error: { code: ServiceUnavailable }
                      encode_raw_headers: true
                      validate_mutations: true"#
    } else {
        ""
    };
    let cluster = |name: &str, address: &str, http2: &str| {
        format!(
            "
    - name: {name}
      connect_timeout: 5s{http2}
      load_assignment:
        cluster_name: {name}
        endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {} }} }}] }}]",
            endpoint(address)
        )
    };
    let http2 = r#"
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: { http2_protocol_options: {} }"#;
    let text = format!(
        r#"static_resources:
  listeners:
    - name: flyte
      address: {}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: flyte
                use_remote_address: true
                normalize_path: true
                path_with_escaped_slashes_action: REJECT_REQUEST
                access_log:
                  - name: envoy.access_loggers.file
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
                      path: {}/access.log
                http_filters:{check}
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
                route_config:
                  virtual_hosts:
                    - name: flyte
                      domains: ["*"]
                      routes:
                        - {{ match: {{ prefix: "/" }}, route: {{ cluster: flyte, timeout: 0s }} }}
  clusters:{}{}
"#,
        endpoint(listen),
        directory.display(),
        cluster("gatekey", place.gatekey, http2),
        cluster("flyte", place.upstream, ""),
    );
    let file = written(directory, "envoy.yaml", &text)?;
    Ok(words(&["--use-dynamic-base-id", "--concurrency", "1", "-l", "off", "-c", &file]))
}

/// Asks at `/gate/forward`.
fn traefik(
    place: &Place<'_>,
    directory: &Path,
    listen: &str,
    checks: bool,
) -> anyhow::Result<Vec<String>> {
    let (middlewares, gate) = if checks {
        let gate = format!(
            "
  middlewares:
    gate:
      forwardAuth:
        address: http://{}/gate/forward
        trustForwardHeader: false
        authResponseHeaders: [Authorization, X-Auth-Request-User, X-Auth-Request-Email, X-Auth-Request-Roles, X-Auth-Request-Organization]",
            place.gatekey
        );
        ("\n      middlewares: [gate]", gate)
    } else {
        ("", String::new())
    };
    let text = format!(
        "http:
  routers:
    flyte:
      rule: PathPrefix(`/`)
      service: flyte{middlewares}{gate}
  services:
    flyte:
      loadBalancer:
        servers: [{{ url: \"http://{}\" }}]
",
        place.upstream
    );
    let file = written(directory, "traefik.yaml", &text)?;
    Ok(words(&[
        &format!("--entryPoints.web.address={listen}"),
        &format!("--providers.file.filename={file}"),
        &format!("--accesslog.filepath={}/access.log", directory.display()),
        "--global.checkNewVersion=false",
        "--global.sendAnonymousUsage=false",
    ]))
}

/// Asks at `/gate/forward`.
fn caddy(
    place: &Place<'_>,
    directory: &Path,
    listen: &str,
    checks: bool,
) -> anyhow::Result<Vec<String>> {
    let gate = if checks {
        format!(
            "\tforward_auth {} {{
\t\turi /gate/forward
\t\tcopy_headers Authorization X-Auth-Request-User X-Auth-Request-Email X-Auth-Request-Roles X-Auth-Request-Organization
\t}}\n",
            place.gatekey
        )
    } else {
        String::new()
    };
    let text = format!(
        "{{\n\tadmin off\n\tauto_https off\n\tpersist_config off\n}}\nhttp://{listen} {{\n\tbind 127.0.0.1\n\
         \tlog {{\n\t\toutput file {}/access.log\n\t}}\n{gate}\treverse_proxy {}\n}}\n",
        directory.display(),
        place.upstream
    );
    let file = written(directory, "Caddyfile", &text)?;
    Ok(words(&["run", "--adapter", "caddyfile", "--config", &file]))
}

/// Verifies the token of each request by the issuer's keys, and asks nobody.
fn oauth2_proxy(place: &Place<'_>, listen: &str) -> Vec<String> {
    let issuer = format!("http://{}", place.gatekey);
    words(&[
        &format!("--http-address={listen}"),
        &format!("--upstream=http://{}", place.upstream),
        "--provider=oidc",
        &format!("--oidc-issuer-url={issuer}"),
        &format!("--oidc-extra-audience={issuer}"),
        "--oidc-enabled-signing-alg=ES256",
        "--oidc-email-claim=sub",
        "--insecure-oidc-allow-unverified-email=true",
        "--skip-jwt-bearer-tokens=true",
        "--email-domain=*",
        "--client-id=bench",
        "--client-secret=bench",
        "--cookie-secret=0123456789abcdef0123456789abcdef",
        "--redirect-url=http://localhost/oauth2/callback",
    ])
}
