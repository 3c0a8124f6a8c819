//! Who is connected to, and with which password.

use std::{fs, net::TcpListener, sync::Arc};

use gatekey_store::{
    DatabaseUrl, PostgresStore,
    postgres::{Password, PostgresOpenError, PostgresOptions},
};
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, SignatureAlgorithm,
};
use tempfile::TempDir;

use crate::{
    cluster::Cluster,
    world::{Mirror, PostgresDatabase, root_key},
};

/// Only over TLS and with a password; the tests themselves use the socket.
const HOSTS: &str = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";

/// A server that is reached by TCP, with a certificate for `localhost`.
struct Server {
    cluster: Cluster,
    port: u16,
    /// Has the certificate of the server's authority, and that of another.
    directory: TempDir,
}

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

impl Server {
    /// `None` if PostgreSQL is not installed, which other tests report.
    fn start(algorithm: &'static SignatureAlgorithm) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        // The authority's key determines the algorithm of the signature.
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(directory.path().join("ca.pem"), params.self_signed(&key).unwrap().pem())
            .unwrap();
        let issuer = Issuer::new(params, key);
        fs::write(directory.path().join("other.pem"), authority().0).unwrap();
        let key = KeyPair::generate().unwrap();
        let named = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = named.signed_by(&key, &issuer).unwrap().pem();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = "listen_addresses = '127.0.0.1'\nssl = on\n";
        let files = [
            ("server.crt", &*certificate),
            ("server.key", &*key.serialize_pem()),
            ("pg_hba.conf", HOSTS),
        ];
        Some(Self { cluster: Cluster::start(port, settings, &files)?, port, directory })
    }

    fn open(&self, database: &str, host: &str, ca: &str, password: &str) -> Result<(), String> {
        let ca = self.directory.path().join(ca);
        let url = format!(
            "postgres://app@{host}:{}/{database}?sslmode=verify-full&sslrootcert={}",
            self.port,
            ca.display()
        );
        let url: DatabaseUrl = url.parse().unwrap();
        let options = PostgresOptions {
            url: url.with_password(Password::new(password.to_owned())).unwrap(),
            ..PostgresDatabase::new().unwrap().options()
        };
        match PostgresStore::open(options, &root_key(), Arc::new(Mirror::default())) {
            Ok(_) => Ok(()),
            Err(PostgresOpenError::Failed { source, .. }) => Err(source.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[test]
fn a_verified_server_gets_the_password() {
    // The hash of the binding to the connection follows the signature's algorithm.
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384] {
        let Some(server) = Server::start(algorithm) else { return };
        let database = server.cluster.database();
        database.run("CREATE ROLE app LOGIN PASSWORD 'hunter2'; GRANT ALL ON SCHEMA public TO app");
        let name = database.run("SELECT current_database()");
        server.open(&name, "localhost", "ca.pem", "hunter2").unwrap();
        assert_eq!(database.run("SELECT count(*) FROM head"), "1");

        let refused = server.open(&name, "localhost", "ca.pem", "hunter3").unwrap_err();
        assert!(refused.contains("password authentication failed"), "{refused}");
        assert!(!refused.contains("hunter3"), "{refused}");
        for (host, ca) in [("localhost", "other.pem"), ("127.0.0.1", "ca.pem")] {
            let refused = server.open(&name, host, ca, "hunter2").unwrap_err();
            assert!(refused.contains("certificate"), "{host} {ca}: {refused}");
        }
    }
}
