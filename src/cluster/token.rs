//! When the token that flipguard shows to the API server ends.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kube::config::Kubeconfig;
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::kubeconfig::Current;

/// The token of a Pod, which the kubelet replaces in time.
const OF_POD: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Where a token comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenSource {
    /// `token` of a kubeconfig, which is read once.
    Inline,
    /// `tokenFile` of a kubeconfig, which is read again about once a minute.
    File,
    /// The file of the Pod's ServiceAccount, which is read again too.
    Pod,
}

impl TokenSource {
    /// The word in metrics: `inline`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::File => "file",
            Self::Pod => "pod",
        }
    }
}

/// The life of a token. A JSON Web Token tells it; any other token does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenLife {
    /// Where it comes from.
    pub source: TokenSource,
    /// When it ends, in Unix seconds.
    pub ends: i64,
    /// Whose it is: `system:serviceaccount:flipguard-system:flipguard`.
    pub subject: String,
}

/// The claims of a token.
#[derive(Deserialize)]
struct Claims {
    exp: i64,
    #[serde(default)]
    sub: String,
}

impl TokenLife {
    /// The token of the current user of a kubeconfig, as it is now.
    pub(super) fn of_kubeconfig(file: &Kubeconfig) -> Option<Self> {
        let user = Current::of(file).credentials?;
        match (&user.token, &user.token_file) {
            (Some(token), _) => Self::of(token.expose_secret(), TokenSource::Inline),
            (None, Some(path)) => Self::of(&std::fs::read_to_string(path).ok()?, TokenSource::File),
            (None, None) => None,
        }
    }

    /// The token of the Pod of this process, as it is now.
    pub(super) fn of_pod() -> Option<Self> {
        Self::of(&std::fs::read_to_string(OF_POD).ok()?, TokenSource::Pod)
    }

    fn of(token: &str, source: TokenSource) -> Option<Self> {
        let claims = URL_SAFE_NO_PAD.decode(token.trim().split('.').nth(1)?).ok()?;
        let Claims { exp, sub } = serde_json::from_slice(&claims).ok()?;
        Some(Self { source, ends: exp, subject: sub })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("head.{}.signature", URL_SAFE_NO_PAD.encode(claims))
    }

    fn of(user: &str) -> Option<TokenLife> {
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: {{cluster: c, user: u}}}}], \
             clusters: [{{name: c, cluster: {{server: 'https://api'}}}}], users: [{{name: u, user: {{{user}}}}}]}}"
        );
        TokenLife::of_kubeconfig(&Kubeconfig::from_yaml(&text).unwrap())
    }

    #[test]
    fn a_token_tells_when_it_ends() {
        let subject = "system:serviceaccount:own:flipguard".to_owned();
        let inline = token(&format!(r#"{{"exp":1893456000,"sub":"{subject}","aud":["api"]}}"#));
        let life = TokenLife { source: TokenSource::Inline, ends: 1_893_456_000, subject };
        assert_eq!(of(&format!("token: {inline}")), Some(life.clone()));
        // A file is read each time.
        let file = std::env::temp_dir().join(format!("flipguard-token-{}", std::process::id()));
        std::fs::write(&file, inline + "\n").unwrap();
        let user = format!("tokenFile: '{}'", file.display());
        assert_eq!(of(&user), Some(TokenLife { source: TokenSource::File, ..life }));
        std::fs::write(&file, token(r#"{"exp":1893459600}"#)).unwrap();
        assert_eq!(of(&user).map(|life| life.ends), Some(1_893_459_600));
        std::fs::remove_file(file).unwrap();
        assert_eq!(of(&user), None);
        for silent in ["token: opaque", "token: a.b.c", "username: u", &format!("token: {}", token("{}"))] {
            assert_eq!(of(silent), None, "{silent}");
        }
    }
}
