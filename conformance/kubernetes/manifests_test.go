package kubernetes

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/batch"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/roomenv/roomenv/manifest"
)

var (
	decoder      = serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	yamlBlock    = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")
	isKubernetes = regexp.MustCompile(`(?m)^apiVersion: `)
)

func TestExamples(t *testing.T) {
	paths, err := filepath.Glob("../../examples/kubernetes/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range check(b) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestGuide(t *testing.T) {
	guide, err := os.ReadFile("../../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, block := range yamlBlock.FindAllSubmatch(guide, -1) {
		if isKubernetes.Match(block[1]) {
			checked++
			for _, err := range check(block[1]) {
				t.Errorf("%v in\n%s", err, block[1])
			}
		}
	}
	if checked == 0 {
		t.Error("the guide has no manifest")
	}
}

// TestCheck sees that what is wrong is found.
func TestCheck(t *testing.T) {
	pod := func(spec string) []byte {
		return []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: " + spec)
	}
	const safe = "securityContext: {allowPrivilegeEscalation: false, runAsNonRoot: true, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}"
	for _, test := range []struct {
		document []byte
		want     string
	}{
		{pod("{containers: [{name: c, image: i, " + safe + "}]}"), ""},
		{pod("{shareProcesNamespace: true, containers: [{name: c, image: i, " + safe + "}]}"), "unknown field"},
		{pod("{containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /v}], " + safe + "}]}"), "Not found"},
		{pod("{containers: [{name: c, image: i}]}"), "pod security"},
		{pod("{containers: [{name: c, image: roomenv:1, args: [sidecar, --dri, /s], " + safe + "}]}"), "unknown flag"},
		{[]byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {roomenv.yaml: 'version: 2'}"), "version"},
	} {
		errs := check(test.document)
		if got := fmt.Sprint(errs); (test.want == "") != (len(errs) == 0) || !strings.Contains(got, test.want) {
			t.Errorf("got %s, want %q for\n%s", got, test.want, test.document)
		}
	}
}

// check returns what is wrong with the objects of a YAML stream.
func check(stream []byte) (errs []error) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(stream)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return errs
		}
		if err != nil {
			return append(errs, err)
		}
		object, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			return append(errs, fmt.Errorf("decode: %w", err))
		}
		legacyscheme.Scheme.Default(object)
		errs = append(errs, validate(object)...)
	}
}

// validate checks one object, as of the namespace that a request names.
func validate(object runtime.Object) (errs []error) {
	internal, err := legacyscheme.Scheme.UnsafeConvertToVersion(object, runtime.InternalGroupVersioner)
	if err != nil {
		return []error{err}
	}
	var found field.ErrorList
	switch o := internal.(type) {
	case *apps.Deployment:
		o.Namespace = "default"
		found = appsvalidation.ValidateDeployment(o, podutil.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil))
	case *batch.Job:
		o.Namespace = "default"
		found = batchvalidation.ValidateJobCreate(o, batchvalidation.JobValidationOptions{PodValidationOptions: podutil.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil)})
		// The server generates the selector, and the labels that it selects.
		found = slices.DeleteFunc(found, func(e *field.Error) bool {
			return e.Field == "spec.selector" || e.Field == "spec.template.metadata.labels" && strings.Contains(e.Detail, "`selector`")
		})
	case *batch.CronJob:
		o.Namespace = "default"
		found = batchvalidation.ValidateCronJobCreate(o, podutil.GetValidationOptionsFromPodTemplate(&o.Spec.JobTemplate.Spec.Template, nil))
	case *core.Pod:
		o.Namespace = "default"
		found = corevalidation.ValidatePodCreate(o, podutil.GetValidationOptionsFromPodSpecAndMeta(&o.Spec, nil, &o.ObjectMeta, nil))
	case *core.ConfigMap:
		o.Namespace = "default"
		found = corevalidation.ValidateConfigMap(o)
		errs = append(errs, loads(o.Data)...)
	case *core.Secret:
		o.Namespace = "default"
		found = corevalidation.ValidateSecret(o)
	default:
		errs = append(errs, fmt.Errorf("%T is not checked", object))
	}
	for _, e := range found {
		errs = append(errs, e)
	}
	if pod := podOf(object); pod != nil {
		errs = append(errs, restricted(pod)...)
		for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			errs = append(errs, accepts(c)...)
		}
	}
	return errs
}

// podOf returns the pods that an object makes, or nil.
func podOf(object runtime.Object) *corev1.PodTemplateSpec {
	switch o := object.(type) {
	case *appsv1.Deployment:
		return &o.Spec.Template
	case *batchv1.Job:
		return &o.Spec.Template
	case *batchv1.CronJob:
		return &o.Spec.JobTemplate.Spec.Template
	case *corev1.Pod:
		return &corev1.PodTemplateSpec{ObjectMeta: o.ObjectMeta, Spec: o.Spec}
	}
	return nil
}

// accepts has roomenv parse what a container and its probes run of it.
func accepts(c corev1.Container) (errs []error) {
	lines := [][]string{c.Command}
	if strings.HasPrefix(c.Image, "roomenv:") {
		lines = [][]string{slices.Concat([]string{"/roomenv"}, c.Args)}
	}
	for _, probe := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
		if probe != nil && probe.Exec != nil {
			lines = append(lines, probe.Exec.Command)
		}
	}
	for _, line := range lines {
		if len(line) == 0 || filepath.Base(line[0]) != "roomenv" {
			continue
		}
		flags := line[1:]
		if end := slices.Index(flags, "--"); end >= 0 {
			flags = flags[:end]
		}
		if out, err := exec.Command(os.Getenv("ROOMENV"), append(slices.Clone(flags), "--help")...).CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("%q: %w: %s", line, err, out))
		}
	}
	return errs
}

// restricted checks a pod for the strictest level of pod security.
func restricted(pod *corev1.PodTemplateSpec) []error {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return []error{err}
	}
	level := podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}
	if result := policy.AggregateCheckResults(evaluator.EvaluatePod(level, &pod.ObjectMeta, &pod.Spec)); !result.Allowed {
		return []error{fmt.Errorf("pod security: %s", result.ForbiddenDetail())}
	}
	return nil
}

// loads loads the manifests of roomenv in a ConfigMap.
func loads(data map[string]string) (errs []error) {
	dir, err := os.MkdirTemp("", "manifests")
	if err != nil {
		return []error{err}
	}
	defer os.RemoveAll(dir)
	for name, text := range data {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return []error{err}
		}
		if _, err := manifest.Load([]string{path}, nil, manifest.SchemeRoom); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}
