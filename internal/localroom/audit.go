package localroom

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/internal/trustedpath"
	"github.com/roomenv/roomenv/internal/wire"
)

// An Audit is a file with a JSON object in a line for each join and each call of a
// participant, and for each revocation. It never has a value. When the file is renamed or
// removed, as logrotate does, the next entry is in a new one.
type Audit struct {
	path string
	sync bool

	writing sync.Mutex
	file    *os.File
	written uint64 // entries
	failed  bool   // the last write: the line may be incomplete

	syncing sync.Mutex
	synced  uint64 // entries that are on disk
}

// OpenAudit appends to the file at path, which it creates with the mode 0600. With sync
// an entry is on disk before its participant gets a response, and a call that cannot be
// recorded fails.
func OpenAudit(path string, sync bool) (*Audit, error) {
	a := &Audit{path: path, sync: sync}
	if err := a.reopen(); err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	return a, nil
}

// Close closes the file.
func (a *Audit) Close() error {
	a.writing.Lock()
	defer a.writing.Unlock()
	if a.file == nil {
		return nil
	}
	return a.file.Close()
}

// reopen opens the file unless it is open. It has to be a regular file that other users
// cannot write. The caller holds a.writing.
func (a *Audit) reopen() error {
	now, err := os.Stat(a.path) //nolint:gosec // the file that the user names
	if a.file != nil && err == nil {
		if was, err := a.file.Stat(); err == nil && os.SameFile(was, now) {
			return nil
		}
	}
	// It may be a link, whose owner decides what is written to.
	if link, err := os.Lstat(a.path); err == nil { //nolint:gosec // as above
		if err := trustedpath.CheckFile(a.path, link); err != nil {
			return err
		}
	}
	if err == nil && !now.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file", a.path)
	}
	file, err := os.OpenFile(a.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK, 0o600) //nolint:gosec // as above
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", a.path)
	}
	if err == nil {
		err = trustedpath.CheckFile(a.path, info)
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	if a.file != nil {
		_ = a.file.Close()
	}
	a.file = file
	return nil
}

// An auditEntry is who did what, with what result.
type auditEntry struct {
	Time        time.Time `json:"time"`
	Room        string    `json:"room"`
	Identity    string    `json:"identity"`
	TokenID     string    `json:"token_id,omitempty"`
	Participant string    `json:"participant_id,omitempty"`
	Remote      string    `json:"remote"`
	Operation   string    `json:"operation"`
	Arguments   *subject  `json:"arguments,omitempty"`
	Result      string    `json:"result"`
}

// A subject has the arguments of a call that name what it is about. Other arguments,
// which may have values, are not recorded.
type subject struct {
	SecretID       argument `json:"secret_id,omitempty"`
	ID             argument `json:"id,omitempty"`
	Name           argument `json:"name,omitempty"`
	Type           argument `json:"type,omitempty"`
	URL            argument `json:"url,omitempty"`
	DelegatedTo    argument `json:"delegated_to,omitempty"`
	DelegatedBy    argument `json:"delegated_by,omitempty"`
	DelegateTo     argument `json:"delegate_to,omitempty"`
	ForIdentity    argument `json:"for_identity,omitempty"`
	RequestID      argument `json:"request_id,omitempty"`
	ParticipantID  argument `json:"participant_id,omitempty"`
	ToParticipant  argument `json:"to_participant_id,omitempty"`
	OAuthClientID  argument `json:"client_id,omitempty"`
	TokenEndpoint  argument `json:"token_endpoint,omitempty"`
	RejectsRequest bool     `json:"rejects,omitempty"`
}

// An argument is a text of a peer for the log. It accepts what the tools accept, and
// more: one field of a wrong type must not hide the others.
type argument string

// UnmarshalJSON never fails. It ignores null, as a string does.
func (a *argument) UnmarshalJSON(b []byte) error {
	var s string
	switch {
	case string(b) == "null":
	case json.Unmarshal(b, &s) != nil:
		*a = "(not a string)"
	default:
		*a = argument(bounded(s))
	}
	return nil
}

// bounded cuts s to the length of the longest valid name, and says so.
func bounded(s string) string {
	if len(s) <= maxName {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(s[:maxName], ""), len(s))
}

// record writes an entry. Without sync it does not wait for the disk.
func (a *Audit) record(e auditEntry) error {
	line, err := text.JSON(e, "")
	if err != nil {
		return err
	}
	n, err := a.write(line)
	if err != nil || !a.sync {
		return err
	}
	a.syncing.Lock()
	defer a.syncing.Unlock()
	if a.synced >= n {
		return nil // with an entry of another call
	}
	a.writing.Lock()
	file, written := a.file, a.written
	a.writing.Unlock()
	if err := file.Sync(); err != nil {
		a.writing.Lock()
		a.failed = true
		a.writing.Unlock()
		return err
	}
	a.synced = written
	return nil
}

func (a *Audit) write(line []byte) (n uint64, err error) {
	a.writing.Lock()
	defer a.writing.Unlock()
	before := a.file
	if err := a.reopen(); err != nil {
		a.failed = true
		return 0, err
	}
	if a.failed && a.file == before {
		line = append([]byte{'\n'}, line...)
	}
	_, err = a.file.Write(line)
	a.failed = err != nil
	a.written++
	return a.written, err
}

// ready fails if the last entry could not be written and that has not changed.
func (a *Audit) ready() error {
	a.writing.Lock()
	failed := a.failed
	a.writing.Unlock()
	if !failed {
		return nil
	}
	return a.record(auditEntry{Time: time.Now().UTC(), Operation: "audit", Result: "resumed"})
}

var errAudit = wire.Error{Code: wire.OperationFailed, Text: "the room cannot write its audit log"}

// audit records what s did. The error is nil unless the log has to be on disk.
func (s *session) audit(operation string, arguments wire.Content, result string) error {
	return s.server.audit(auditEntry{
		Room: s.room.name, Identity: s.who.Name, TokenID: s.who.ID, Participant: s.id, Remote: s.remote,
		Operation: bounded(operation), Arguments: subjectOf(arguments), Result: result,
	})
}

func (s *Server) audit(e auditEntry) error {
	a := s.auditLog
	if a == nil {
		return nil
	}
	e.Time = time.Now().UTC()
	if err := a.record(e); err != nil {
		s.log.Error("audit log failed", "room", e.Room, "participant", e.Identity, "path", a.path, "error", err)
		if a.sync {
			return errAudit
		}
	}
	return nil
}

func subjectOf(arguments wire.Content) *subject {
	var object json.RawMessage
	switch a := arguments.(type) {
	case wire.JSON:
		object = a.Object
	case wire.Binary:
		object = a.Headers
	}
	var fields struct {
		subject
		OAuth *struct {
			ClientID      argument `json:"client_id"`
			TokenEndpoint argument `json:"token_endpoint"`
		} `json:"oauth"`
		Error json.RawMessage `json:"error"`
	}
	// An error is about a field of a wrong type; the others are decoded.
	_ = json.Unmarshal(object, &fields)
	if o := fields.OAuth; o != nil {
		fields.OAuthClientID = cmp.Or(o.ClientID, fields.OAuthClientID)
		fields.TokenEndpoint = cmp.Or(o.TokenEndpoint, fields.TokenEndpoint)
	}
	fields.RejectsRequest = fields.Error != nil && string(fields.Error) != "null"
	if fields.subject == (subject{}) {
		return nil
	}
	return &fields.subject
}

// results are the results of calls by the code of their error.
var results = map[wire.Code]string{
	wire.PermissionDenied: "permission denied", wire.InvalidRequest: "invalid request", wire.NotFound: "not found",
	wire.AlreadyExists: "already exists", wire.Conflict: "conflict", wire.InvalidState: "invalid state",
	wire.DependencyMissing: "dependency missing", wire.OperationFailed: "failed", wire.Timeout: "timeout",
}

// resultOf leaves out texts, which may be those of other participants.
func resultOf(operation string, c wire.Content, err error) string {
	if err != nil {
		return cmp.Or(results[failure(err).Code], "failed")
	}
	if _, empty := c.(wire.Empty); empty && operation == wire.Secrets+"."+wire.GetSecret {
		return results[wire.NotFound]
	}
	return "ok"
}
