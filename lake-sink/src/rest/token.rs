//! Tokens got with a credential (OAuth2, RFC 6749 section 4.4), as Iceberg's REST catalogs take them.
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{CatalogRequests, RestClient};
use crate::store::StoreError;

/// A token is renewed so long before it ends, or at nine tenths of a short life.
const MARGIN: Duration = Duration::from_secs(60);

/// The token that was got last.
#[derive(Default)]
pub struct Tokens {
    held: Option<Token>,
}

struct Token {
    text: String,
    /// `None`: nobody said that it ends.
    renew_at: Option<Instant>,
}

impl RestClient {
    /// What requests are authorised with, if anything; another one than `refused`.
    pub(super) async fn token(&self, refused: Option<&str>) -> Result<Option<String>, StoreError> {
        let settings = &self.inner.settings;
        let Some(credential) = &settings.credential else { return Ok(settings.token.clone()) };
        let mut tokens = self.inner.tokens.lock().await;
        let now = Instant::now();
        let good = |token: &&Token| {
            Some(token.text.as_str()) != refused && token.renew_at.is_none_or(|renew_at| now < renew_at)
        };
        if let Some(token) = tokens.held.as_ref().filter(good) {
            return Ok(Some(token.text.clone()));
        }
        tokens.held = None;
        let token = self.fetch(credential, now).await?;
        let text = token.text.clone();
        tokens.held = Some(token);
        Ok(Some(text))
    }

    async fn fetch(&self, credential: &str, now: Instant) -> Result<Token, StoreError> {
        let settings = &self.inner.settings;
        let of_catalog = || format!("{}/v1/oauth/tokens", self.uri());
        let url = settings.oauth2_server_uri.clone().unwrap_or_else(of_catalog);
        let request = self.http()?.post(&url).header("content-type", "application/x-www-form-urlencoded");
        let answer = self.exchange(request.body(form(credential, &settings.scope))).await?;
        let failed = |reason: String| StoreError::failed("getting a token", &self.address(), reason);
        if answer.status != 200 {
            // In the words of OAuth2, and of Iceberg.
            let said = answer.body["error_description"].as_str().or_else(|| answer.body["error"].as_str());
            let said = said.or_else(|| answer.body["error"]["message"].as_str()).unwrap_or("it does not say why");
            let said: String = said.chars().filter(|c| !c.is_control()).take(super::MESSAGE_LEN_MAX).collect();
            return Err(failed(format!(
                "the server of tokens answers {}: {said}; see `lake.iceberg.rest.credential`",
                answer.status
            )));
        }
        token_of(&answer.body, now).ok_or_else(|| failed("the answer has no `access_token`".to_owned()))
    }
}

fn form(credential: &str, scope: &str) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    let secret = match credential.split_once(':') {
        Some((id, secret)) => {
            form.append_pair("client_id", id);
            secret
        }
        None => credential,
    };
    form.append_pair("client_secret", secret);
    if !scope.is_empty() {
        form.append_pair("scope", scope);
    }
    form.finish()
}

fn token_of(body: &Value, now: Instant) -> Option<Token> {
    let text = body["access_token"].as_str().filter(|text| !text.is_empty())?.to_owned();
    let life = body["expires_in"].as_u64().map(Duration::from_secs);
    let renew_at = life.and_then(|life| now.checked_add(life.saturating_sub(MARGIN.min(life / 10))));
    Some(Token { text, renew_at })
}
