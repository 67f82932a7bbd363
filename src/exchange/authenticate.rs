//! Who the client is, by what it brought: a bearer token, an API key, a password.

use std::cell::OnceCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};

use super::failure::Unproven;
use super::held::Exchange;
use crate::http1::FieldKind;
use crate::limits;
use crate::net::Env;
use crate::policy::Policies;
use crate::policy::auth::{
    Bearers, Challenge, Holders, Identity, Login, LoginError, Proof, Refusal, Users, basic, bearer,
};

/// Who the client has turned out to be, by each policy of the route.
#[derive(Default)]
pub(super) struct Identities<'a> {
    bearer: OnceCell<Rc<Identity>>,
    holder: OnceCell<&'a Identity>,
    user: OnceCell<Rc<Identity>>,
    /// What a service that was asked says of it.
    pub(super) service: OnceCell<Rc<Identity>>,
}

impl Identities<'_> {
    /// A claim of the bearer's token, if its policy keeps it.
    pub(super) fn claim(&self, name: &str) -> Option<&str> {
        self.bearer.get().and_then(|identity| identity.claim(name))
    }

    /// Lines for the endpoint, on every attempt.
    pub(super) fn lines(&self) -> [&[u8]; 4] {
        fn of(cell: &OnceCell<Rc<Identity>>) -> &[u8] {
            cell.get().map_or(b"", |identity| identity.lines())
        }
        let holder = self.holder.get().map_or(&b""[..], |identity| identity.lines());
        [of(&self.bearer), holder, of(&self.user), of(&self.service)]
    }

    /// Who the client is, for the log: the subject of its token, the holder of its key, or the user.
    pub(super) fn name(&self) -> Option<&str> {
        self.claim("sub").or_else(|| self.api_key()).or_else(|| self.user())
    }

    /// Whose API key it was.
    pub(super) fn api_key(&self) -> Option<&str> {
        self.holder.get().and_then(|identity| identity.name())
    }

    /// Whose password it was.
    pub(super) fn user(&self) -> Option<&str> {
        self.user.get().and_then(|identity| identity.name())
    }
}

impl<'a, E: Env> Exchange<'a, E> {
    /// Asks the policies of authentication; what they know of the client is told to the endpoint.
    pub(super) async fn authenticate(&self, policies: &'a Policies) -> Result<(), Unproven> {
        if let Some(bearers) = &policies.bearers {
            let identity = self.bearer(bearers).inspect_err(|why| self.challenge(&bearers.challenge, *why))?;
            self.identities.bearer.get_or_init(|| identity);
        }
        if let Some(holders) = &policies.holders {
            let identity = self.holder(holders).inspect_err(|why| self.challenge(&holders.challenge, *why))?;
            self.identities.holder.get_or_init(|| identity);
        }
        if let Some(users) = &policies.users {
            let identity = self.user(users).await.inspect_err(|why| self.challenge(&users.challenge, *why))?;
            self.identities.user.get_or_init(|| identity);
        }
        Ok(())
    }

    /// Whose token it is: known to this worker, or verified now.
    fn bearer(&self, bearers: &Bearers) -> Result<Rc<Identity>, Unproven> {
        if bearers.verifier.keys().is_empty() {
            return Err(Unproven::KeysMissing);
        }
        let token =
            self.authorization()?.and_then(bearer).filter(|token| !token.is_empty()).ok_or(Unproven::Missing)?;
        let (verifier, now_s) = (&bearers.verifier, self.shard.unix_ms() / 1000);
        if let Some(known) = self.shard.verified.borrow().find(verifier.stamp(), token, now_s) {
            return Ok(Rc::clone(known));
        }
        match verifier.verify(token, now_s) {
            Ok(passed) => {
                let identity = Rc::new(passed.identity);
                let mut verified = self.shard.verified.borrow_mut();
                verified.on_verified(verifier.stamp(), token, passed.until_s, Rc::clone(&identity), now_s);
                Ok(identity)
            }
            Err(refusal) => {
                if let (Refusal::KeyUnknown, Some(wanted)) = (refusal, &bearers.wanted) {
                    wanted.on_unknown();
                }
                Err(Unproven::of_token(refusal))
            }
        }
    }

    /// The only field of its name, if there is one.
    pub(super) fn authorization(&self) -> Result<Option<&'a [u8]>, Unproven> {
        let mut fields = self.head.fields().iter().filter(|field| field.kind == FieldKind::Authorization);
        Ok(only(&mut fields)?.map(|field| field.value.of(self.bytes)))
    }

    /// Whose password it is: known to this worker, or tried by the control side, because that takes long.
    async fn user(&self, users: &Arc<Users>) -> Result<Rc<Identity>, Unproven> {
        let credentials = self.authorization()?.and_then(basic).filter(|text| !text.is_empty());
        let credentials = credentials.ok_or(Unproven::Missing)?;
        if credentials.len() > limits::BASIC_BYTES {
            return Err(Unproven::Login(LoginError::TooLong));
        }
        // The password itself is not kept.
        let proof: Proof = digest(&SHA256, credentials).as_ref().try_into().unwrap_or_default();
        if let Some(known) = self.known(users, &proof) {
            return Ok(known);
        }
        if self.shard.proofs.is_refused(users, &proof, self.shard.alarms.now_ms() / 1000) {
            return Err(Unproven::Password);
        }
        // In a box, because it is rare that anybody waits.
        Box::pin(self.try_password(users, &proof, credentials)).await
    }

    fn known(&self, users: &Users, proof: &Proof) -> Option<Rc<Identity>> {
        let now_s = self.shard.alarms.now_ms() / 1000;
        self.shard.vouched.borrow().find(users.stamp(), proof, now_s).map(Rc::clone)
    }

    async fn try_password(
        &self,
        users: &Arc<Users>,
        proof: &Proof,
        credentials: &[u8],
    ) -> Result<Rc<Identity>, Unproven> {
        let login = Login::parse(credentials).map_err(Unproven::Login)?;
        let asked = self.shard.proofs.ask(users, proof, login, self.shard.alarms.now_ms());
        let bell = asked.ok_or(Unproven::Untried)?;
        let found = self.alarm.within(limits::PASSWORD_WAIT_MS, pin!(bell.heard())).await;
        // What the endpoint takes begins now.
        self.tally.ready_ns.set(self.shard.env.now_ns());
        let number = found.map_err(|_expired| Unproven::Untried)?.ok_or(Unproven::Password)?;
        users.identity(number).map(|identity| Rc::new(identity.clone())).ok_or(Unproven::Password)
    }

    /// Whose API key it is.
    fn holder(&self, holders: &'a Holders) -> Result<&'a Identity, Unproven> {
        let name = holders.header().as_bytes();
        let mut fields = self
            .head
            .fields()
            .iter()
            .filter(|field| field.name.len() == name.len() && field.name.of(self.bytes).eq_ignore_ascii_case(name));
        let key = only(&mut fields)?.map(|field| field.value.of(self.bytes)).filter(|key| !key.is_empty());
        holders.find(key.ok_or(Unproven::Missing)?).ok_or(Unproven::ApiKey)
    }

    /// Tells the client what it lacks (RFC 9110 section 15.5.2); a call of gRPC is told by its status.
    fn challenge(&self, challenge: &Challenge, why: Unproven) {
        if let (Some(error), false) = (why.challenge(), self.is_grpc) {
            let mut added = self.added.response.borrow_mut();
            challenge.push(added.get_or_insert_with(|| self.shard.buffers.lend()).sink(), error);
        }
    }
}

/// The only one there is, if any: of several an endpoint might believe another one than we.
fn only<T>(found: &mut impl Iterator<Item = T>) -> Result<Option<T>, Unproven> {
    let first = found.next();
    if found.next().is_some() { Err(Unproven::Ambiguous) } else { Ok(first) }
}
