package localroom

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// Each revoked token is a record of the store. Its room and owner are "", which no
// participant has.
const revokedType = "application/vnd.roomenv.revoked-token"

func revokedKey(id string) RecordKey { return RecordKey{ID: "revoked-" + fingerprint(id)} }

var errRevoked = errors.New("the token is revoked")

// checkRevoked fails unless t is known not to be revoked.
func (s *Server) checkRevoked(t token.Token) error {
	if t.ID == "" {
		return nil
	}
	revoked, err := s.store.Exists(revokedKey(t.ID))
	if err == nil && revoked {
		err = errRevoked
	}
	return err
}

// Revoke makes the server reject the token with this ID, and drops the participants
// that joined with it. It does so even if the audit log cannot be written.
func (s *Server) Revoke(id string) error {
	err := s.revoke(id)
	const operation = "revoke"
	return errors.Join(err, s.audit(auditEntry{Remote: "local", Operation: operation, TokenID: id, Result: resultOf(operation, nil, err)}))
}

func (s *Server) revoke(id string) error {
	if err := s.store.Set(revokedKey(id), revokedType, "", secret.New([]byte(id))); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rooms {
		r.mu.Lock()
		for _, p := range r.present {
			if p.who.ID == id {
				p.end("revoked")
			}
		}
		r.mu.Unlock()
	}
	return nil
}

// revokePath is where processes of this machine send the ID of a token to revoke.
const revokePath = "/tokens/revoke"

// maxTokenID bounds the ID of a token, in bytes.
const maxTokenID = 4 << 10

func (s *Server) serveRevoke(w http.ResponseWriter, r *http.Request) {
	id, err := io.ReadAll(io.LimitReader(r.Body, maxTokenID+1))
	if err != nil || len(id) == 0 || len(id) > maxTokenID {
		http.Error(w, "want the ID of a token", http.StatusBadRequest)
		return
	}
	if err := s.Revoke(string(id)); err != nil {
		s.log.Error("revoke token", "reason", err)
		http.Error(w, failure(err).Text, http.StatusInternalServerError)
	}
}

// Revoke revokes the token with this ID at the leader of the room, which may be this
// process.
func (r *Room) Revoke(ctx context.Context, id string) error {
	if id == "" || len(id) > maxTokenID {
		return fmt.Errorf("revoke token: want an ID of 1 to %d bytes", maxTokenID)
	}
	ctx, cancel := context.WithTimeout(ctx, FailoverTimeout)
	defer cancel()
	response, err := r.ask(ctx, http.MethodPost, revokePath, id)
	if err != nil {
		return fmt.Errorf("revoke token: %w", err)
	}
	return response.Body.Close()
}

// Verify returns the token in a JWT that the room accepts, unless it is revoked.
func (r *Room) Verify(jwt secret.Value) (token.Token, error) {
	key, err := r.signingKey()
	if err != nil {
		return token.Token{}, err
	}
	return token.Verify(jwt, func(keyID string) (secret.Value, bool) {
		switch {
		case keyID == KeyID:
			return key, true
		case r.options.Server.Key == nil:
			return secret.Value{}, false
		}
		return r.options.Server.Key(keyID)
	}, time.Now())
}
