# A static binary and nothing else, run as a user who owns nothing.
#
#   docker build --build-arg VERSION=$(git describe --tags --always --dirty) -t roomenv .
FROM golang:1.26 AS build
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
