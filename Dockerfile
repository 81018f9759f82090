# A static binary and nothing else, run as a user who owns nothing.
#
#   docker build --build-arg VERSION=$(git describe --tags --always --dirty) -t roomenv .
#
# The builder is pinned by the digest that docker-library/repo-info records for this tag.
# Change both together; the result depends on the version of Go alone.
FROM golang:1.26.8@sha256:9d2f36f06329b2a141b9db99ffa32765cf695ee57b813ca29e245e8670bcbfff AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w -X main.stamped=$VERSION" -o /roomenv ./cmd/roomenv

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /roomenv /roomenv
USER 65532:65532
ENTRYPOINT ["/roomenv"]
