"""The files under cluster/kubernetes/ say what KubeRay knows, and what anerf is.

KubeRay's own schema is not at hand without its repository. The fields below are those that we use, as its
API reference tells them; any other name is refused as a slip.
"""

import importlib
import importlib.metadata
import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import tyro
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary
from ray.serve.schema import ServeDeploySchema
from ray.serve.scripts import cli as serve_cli

from anerf.errors import InputError
from cluster.cli import COMMANDS
from serve_apps.jobs import ROUTE

FOLDER = Path(__file__).parents[2] / "cluster" / "kubernetes"
RAY = importlib.metadata.version("ray")
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(m|Mi|Gi)?$")]
Dns = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Params = dict[Literal["num-cpus", "num-gpus", "dashboard-host"], str]


class Known(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel, validate_by_name=True)


class Metadata(Known):
    name: Dns
    namespace: Literal["anerf"] | None = None
    labels: dict[str, str] = {}


class Resources(Known):
    requests: dict[Literal["cpu", "memory", "nvidia.com/gpu", "storage"], Quantity]
    limits: dict[Literal["cpu", "memory", "nvidia.com/gpu"], Quantity] = {}


class Port(Known):
    name: Annotated[str, Field(pattern=r"^[a-z]{1,15}$")]
    container_port: Annotated[int, Field(ge=1, le=65535)]


class Mount(Known):
    name: Dns
    mount_path: Annotated[str, Field(pattern="^/")]
    read_only: bool = False


class Container(Known):
    name: Literal["ray-head", "ray-worker"]
    image: Annotated[str, Field(pattern=r"^[\w.-]+/anerf:\d+\.\d+\.\d+$")]
    ports: list[Port]
    resources: Resources
    volume_mounts: list[Mount]
    env: list[dict[str, Any]] = []


class Claim(Known):
    claim_name: Dns


class EmptyDir(Known):
    size_limit: Quantity


class Secret(Known):
    secret_name: Dns


class Volume(Known):
    name: Dns
    secret: Secret | None = None
    persistent_volume_claim: Claim | None = None
    empty_dir: EmptyDir | None = None


class Toleration(Known):
    key: str
    operator: Literal["Exists"]
    effect: Literal["NoSchedule"]


class PodSpec(Known):
    containers: Annotated[list[Container], Field(min_length=1, max_length=1)]
    volumes: list[Volume]
    restart_policy: Literal["Never"]
    termination_grace_period_seconds: int = 30
    tolerations: list[Toleration] = []


class Template(Known):
    spec: PodSpec


class Head(Known):
    ray_start_params: Params
    template: Template


class Workers(Known):
    group_name: Dns
    replicas: int
    min_replicas: int
    max_replicas: int
    ray_start_params: Params
    template: Template


class Autoscaler(Known):
    version: Literal["v1", "v2"]
    upscaling_mode: Literal["Default", "Aggressive", "Conservative"] = "Default"
    idle_timeout_seconds: int
    resources: Resources | None = None


class Auth(Known):
    mode: Literal["token"]
    secret_name: Literal["anerf-ray-token"]


class ClusterSpec(Known):
    ray_version: str
    auth_options: Auth
    enable_in_tree_autoscaling: bool = False
    autoscaler_options: Autoscaler | None = None
    head_group_spec: Head
    worker_group_specs: Annotated[list[Workers], Field(min_length=1)]


class Cluster(Known):
    api_version: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: ClusterSpec


class Upgrade(Known):
    type: Literal["NewCluster", "None"]


class ServiceSpec(Known):
    serve_config_v2: str
    exclude_head_pod_from_serve_svc: bool
    upgrade_strategy: Upgrade
    ray_cluster_config: ClusterSpec


class Service(Known):
    api_version: Literal["ray.io/v1"]
    kind: Literal["RayService"]
    metadata: Metadata
    spec: ServiceSpec


class Submitter(Known):
    backoff_limit: int


class JobSpec(Known):
    entrypoint: str
    cluster_selector: dict[Literal["ray.io/cluster"], Dns] | None = None
    ray_cluster_spec: ClusterSpec | None = None
    submitter_config: Submitter | None = None
    backoff_limit: int = 0
    shutdown_after_job_finishes: bool = False
    ttl_seconds_after_finished: int = 0


class Job(Known):
    api_version: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: JobSpec


class VolumeClaimSpec(Known):
    access_modes: tuple[Literal["ReadWriteMany"]] = Field(strict=False)
    resources: Resources


class VolumeClaim(Known):
    api_version: Literal["v1"]
    kind: Literal["PersistentVolumeClaim"]
    metadata: Metadata
    spec: VolumeClaimSpec


MODELS = {
    "cluster.yaml": Cluster,
    "actors.yaml": Job,
    "jobs.yaml": Job,
    "train.yaml": Job,
    "render.yaml": Service,
    "volume.yaml": VolumeClaim,
}


def content(file: str) -> Any:
    return yaml.safe_load((FOLDER / file).read_text(encoding="utf-8"))


def parsed(file: str) -> Any:
    return MODELS[file].model_validate(content(file))


def clusters() -> dict[str, ClusterSpec]:
    return {
        "cluster.yaml": parsed("cluster.yaml").spec,
        "train.yaml": parsed("train.yaml").spec.ray_cluster_spec,
        "render.yaml": parsed("render.yaml").spec.ray_cluster_config,
    }


@pytest.mark.parametrize("file", MODELS)
def test_every_field_is_one_that_kuberay_knows(file):
    assert parsed(file).metadata.namespace == "anerf"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "rayversion"), "2.60.0"),
        (("spec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("spec", "headGroupSpec", "template", "spec", "containers", 0, "name"), "head"),
        (("spec", "workerGroupSpecs", 0, "template", "spec", "containers", 0, "image"), "anerf"),
        (("spec", "autoscalerOptions", "version"), "v3"),
    ],
)
def test_slips_are_refused(path, value):
    broken = content("cluster.yaml")
    inner = broken
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ValidationError):
        Cluster.model_validate(broken)


def test_every_file_is_applied_or_named_in_the_readme():
    files = {path.name for path in FOLDER.glob("*.yaml")}
    applied = content("kustomization.yaml")["resources"]
    by_hand = {"kustomization.yaml", "train.yaml", "podmonitor.yaml"}
    assert set(applied) | by_hand == files
    assert len(applied) == len(set(applied))
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"`{file}`" in readme for file in files - {"kustomization.yaml", "namespace.yaml"})


@pytest.mark.parametrize("file", ["cluster.yaml", "train.yaml", "render.yaml"])
def test_the_head_gives_out_nothing_and_workers_are_bounded(file):
    spec = clusters()[file]
    assert spec.head_group_spec.ray_start_params["num-cpus"] == "0"
    for group in spec.worker_group_specs:
        assert group.min_replicas <= group.replicas <= group.max_replicas
        assert group.min_replicas >= 1
        # Ray takes a pod's size from its limits.
        (container,) = group.template.spec.containers
        assert container.resources.requests == container.resources.limits


@pytest.mark.parametrize("file", ["cluster.yaml", "train.yaml", "render.yaml"])
def test_every_pod_sees_the_claimed_volume_and_nothing_unknown(file):
    spec = clusters()[file]
    claim = parsed("volume.yaml").metadata.name
    for group in (spec.head_group_spec, *spec.worker_group_specs):
        pod = group.template.spec
        (container,) = pod.containers
        claimed = {v.name for v in pod.volumes if v.persistent_volume_claim == Claim(claim_name=claim)}
        mounted = {mount.name: mount.mount_path for mount in container.volume_mounts}
        assert set(mounted) == {volume.name for volume in pod.volumes}
        assert {mounted[name] for name in claimed} == {"/mnt/anerf"}
        assert ("metrics", 8080) in [(port.name, port.container_port) for port in container.ports]


def test_gpu_pods_have_one_gpu_and_tolerate_its_taint():
    groups = [group for spec in clusters().values() for group in spec.worker_group_specs]
    gpu = [group for group in groups if group.group_name == "gpu"]
    assert len(gpu) == 2
    for group in groups:
        (container,) = group.template.spec.containers
        assert container.resources.limits.get("nvidia.com/gpu") == ("1" if group in gpu else None)
        assert bool(group.template.spec.tolerations) == (group in gpu)


def test_image_and_ray_are_those_of_this_project():
    dockerfile = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    minor = ".".join(RAY.split(".")[:2])
    (of_image,) = re.findall(r"^FROM rayproject/ray:([\d.]+)-py311-gpu$", dockerfile, re.MULTILINE)
    assert of_image.startswith(f"{minor}.")
    assert {spec.ray_version for spec in clusters().values()} == {of_image}
    images = {
        group.template.spec.containers[0].image
        for spec in clusters().values()
        for group in (spec.head_group_spec, *spec.worker_group_specs)
    }
    (image,) = images
    assert image.endswith(f"/anerf:{importlib.metadata.version('anerf')}")
    assert f"-t {image} " in dockerfile


@pytest.mark.parametrize(
    ("file", "name"),
    [("actors.yaml", "up"), ("train.yaml", "run")],
)
def test_entrypoints_are_commands_of_ours(file, name):
    program, command, *arguments = shlex.split(parsed(file).spec.entrypoint)
    assert (program, command) == ("anerf", name)
    place = COMMANDS[command]
    function = getattr(importlib.import_module(place.module), place.function)
    given = tyro.extras.get_parser(function).parse_args(arguments)
    assert vars(given)
    assert "/mnt/anerf/logs" in arguments


def test_the_actors_go_to_the_long_lived_cluster():
    spec, name = parsed("actors.yaml").spec, parsed("cluster.yaml").metadata.name
    assert spec.cluster_selector == {"ray.io/cluster": name}
    assert f"--address {name}-head-svc:6379" in spec.entrypoint
    head = parsed("cluster.yaml").spec.head_group_spec.template.spec.containers[0]
    assert ("gcs", 6379) in [(port.name, port.container_port) for port in head.ports]


def test_the_jobs_api_goes_where_the_mediator_is_and_the_heads_service_reaches_it(tmp_path):
    spec, cluster = parsed("jobs.yaml").spec, parsed("cluster.yaml")
    assert spec.cluster_selector == parsed("actors.yaml").spec.cluster_selector
    words = [shlex.split(command.removeprefix("serve ")) for command in re.split(" && ", spec.entrypoint)]
    started, ran = (serve_cli.commands[name].make_context(name, rest).params for name, *rest in words)
    assert (ran["name"], ran["route_prefix"], ran["blocking"]) == ("jobs", ROUTE, False)
    module, _, attribute = ran["config_or_import_path"].partition(":")
    builder = getattr(importlib.import_module(module), attribute)
    (tmp_path / "token").write_text("0" * 64)
    (token_file,) = (word.removeprefix("token_file=") for word in ran["arguments"])
    built = call_user_app_builder_with_args_if_necessary(builder, {"token_file": str(tmp_path / "token")})
    assert built._bound_deployment.name == "jobs"
    for group in (cluster.spec.head_group_spec, *cluster.spec.worker_group_specs):
        mounts = group.template.spec.containers[0].volume_mounts
        assert str(Path(token_file).parent) in [mount.mount_path for mount in mounts]
    head = cluster.spec.head_group_spec.template.spec.containers[0]
    assert ("serve", started["http_port"]) in [(port.name, port.container_port) for port in head.ports]
    assert (started["http_host"], started["proxy_location"]) == ("0.0.0.0", "HeadOnly")


def test_serve_takes_its_config_and_finds_the_endpoint(tmp_path):
    spec = parsed("render.yaml").spec
    config = ServeDeploySchema.model_validate(yaml.safe_load(spec.serve_config_v2))
    (app,) = config.applications
    module, _, attribute = str(app.import_path).partition(":")
    builder = getattr(importlib.import_module(module), attribute)
    token = tmp_path / "token"
    token.write_text("0" * 64)
    built = call_user_app_builder_with_args_if_necessary(builder, {**app.args, "token_file": str(token)})
    deployment = built._bound_deployment
    renderers, out, door, limit = deployment.init_args
    assert [d.name for d in app.deployments] == [renderers._bound_deployment.name]
    scaling = renderers._bound_deployment._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (1, 8)
    assert (out, door.token_file, limit) == (app.args["out"], str(token), app.args["limit"])
    container = spec.ray_cluster_config.worker_group_specs[0].template.spec.containers[0]
    folder = str(Path(app.args["token_file"]).parent)
    assert folder in [mount.mount_path for mount in container.volume_mounts]
    with pytest.raises(InputError, match="cannot be read"):
        call_user_app_builder_with_args_if_necessary(builder, {**app.args, "token_file": "/nowhere"})
    with pytest.raises(ValidationError):
        call_user_app_builder_with_args_if_necessary(builder, {**app.args, "outt": "x"})
    (workers,) = spec.ray_cluster_config.worker_group_specs
    ports = [(port.name, port.container_port) for port in workers.template.spec.containers[0].ports]
    assert ("serve", config.http_options.port) in ports


def test_redis_is_added_to_the_long_lived_cluster():
    overlay = content("with-redis/kustomization.yaml")
    assert overlay["resources"] == [".."]
    (patch,) = overlay["patches"]
    assert patch["target"]["name"] == parsed("cluster.yaml").metadata.name
    (change,) = yaml.safe_load(patch["patch"])
    assert change["path"] == "/spec/gcsFaultToleranceOptions"
    assert set(change["value"]) == {"redisAddress", "redisPassword"}


def test_prometheus_reads_the_port_that_pods_have():
    monitor = content("podmonitor.yaml")
    assert [end["port"] for end in monitor["spec"]["podMetricsEndpoints"]] == ["metrics"]
    assert monitor["spec"]["podMetricsEndpoints"][0]["honorLabels"] is True


def test_no_secret_lies_in_a_file():
    for path in FOLDER.rglob("*.yaml"):
        kinds = [document["kind"] for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
        assert "Secret" not in kinds
