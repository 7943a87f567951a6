/* Pictures of the camera, which browsers offer on https and localhost only, and files that are dropped on the page. */
const camera = (() => {
  /* Adds files to Gradio's message box, as its file picker does. */
  const addFiles = (files) => {
    const [input, transfer] = [$("#message input[type=file]"), new DataTransfer()];
    for (const file of files) transfer.items.add(file);
    input.files = transfer.files;
    input.dispatchEvent(new Event("change", {bubbles: true}));
  };
  /* By default the browser would leave the page to show the file. */
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!event.defaultPrevented && event.dataTransfer.files.length) addFiles(event.dataTransfer.files);
    event.preventDefault();
  });
  const turnOff = () => $("#camera video").srcObject?.getTracks().forEach((track) => track.stop());
  const open = async () => {
    $("#camera p").textContent = "";
    $("#camera").showModal();
    const video = {facingMode: "environment", width: {ideal: 1920}, height: {ideal: 1920}};
    const stream = await navigator.mediaDevices.getUserMedia({video}).catch(() => null);
    $("#camera video").srcObject = stream;
    if (!stream) $("#camera p").textContent = "The camera can't be used: there is none, or the browser has no permission.";
    if (!$("#camera").open) turnOff();
  };
  const take = () => {
    const {videoWidth: width, videoHeight: height} = $("#camera video");
    if (!width) return;
    const canvas = create("canvas", {width, height});
    canvas.getContext("2d").drawImage($("#camera video"), 0, 0);
    canvas.toBlob((blob) => addFiles([new File([blob], "camera.jpg", {type: "image/jpeg"})]), "image/jpeg", 0.92);
    $("#camera").close();
  };
  const init = () => {
    if (navigator.mediaDevices) $("#message .textarea-wrapper").before(iconButton("Take a picture", "camera", open));
    $("#camera").onclose = turnOff;
  };
  return {take, init, close: () => $("#camera").close()};
})();
